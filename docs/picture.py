"""`python docs/picture.py`: draw docs/parts.jpg, synthetic parts as the station judges them."""

from pathlib import Path

import cv2
import numpy as np

from edge.core.pool import FramePool
from models import package
from models.decode import REGION, Decoder
from models.session import BoundSession
from sensors.synthetic import PartGenerator

KINDS = ("", "scratch", "dent", "stain", "missing_feature")
GREEN, RED = (80, 170, 60), (50, 50, 220)


def main() -> None:
    loaded = package.find("synthetic-part")
    manifest = loaded.manifest
    pool = FramePool.create(manifest.views, 4)
    session = BoundSession(loaded.model_bytes(), manifest.views, pool, "cpu", 1)
    decoder, regions = Decoder(manifest), np.zeros(64, REGION)
    generator = PartGenerator(31_415)
    tiles = []
    for kind in KINDS:
        part = next(p for i in range(1, 999) if (p := generator.part(i)).defect_type == kind)
        np.copyto(pool.arrays(0)["image"], part.image)
        session.run(0)
        score = float(session.outputs["score"][0])
        failed = score >= manifest.thresholds.fail_from
        cells = session.outputs["map"]
        _, count, _ = decoder.regions(cells, regions)
        tile = cv2.cvtColor(part.image, cv2.COLOR_GRAY2BGR)
        for r in regions[:count] if failed else ():
            x, y, w, h = (int(r[name]) for name in ("x", "y", "width", "height"))
            cv2.rectangle(tile, (x, y), (x + w, y + h), RED, 1)
        word = f"{'FAIL  REJECT' if failed else 'PASS  ACCEPT'}  {score:.2f}"
        cv2.rectangle(tile, (0, 0), (256, 20), RED if failed else GREEN, -1)
        cv2.putText(tile, word, (6, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1)
        tiles.append(tile)
    picture = Path(__file__).with_name("parts.jpg")
    cv2.imwrite(str(picture), np.hstack(tiles), [cv2.IMWRITE_JPEG_QUALITY, 80])


if __name__ == "__main__":
    main()
