"""`python -m bench.vnni [MODEL]`: how far session.run is from what the processor can multiply.

A loop of nothing but VPDPBUSD, the instruction of INT8 convolutions on x86, compiled here with
`cc`, on every processor at once: its multiply-accumulates a second are the arithmetic limit. No
network reaches it, for every product also has to be fetched, packed, scaled and written.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.latency import frames
from bench.latency.box.bare import measure
from bench.latency.forecast.macs import graph
from edge.core.errors import EdgeError
from models import package

ROUNDS = 200_000_000
REGISTERS = 16
# instruction set: (compiler's options, vector type, multiply-accumulates of an instruction)
WIDE = (("-mavx512f", "-mavx512vnni"), "__m512i", "_mm512_dpbusd_epi32", "_mm512_set1_epi8", 64)
NARROW = (("-mavx2", "-mavxvnni"), "__m256i", "_mm256_dpbusd_avx_epi32", "_mm256_set1_epi8", 32)

SOURCE = """
#define _GNU_SOURCE
#include <immintrin.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
static double now(void) {{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}}
int main(int count, char **arguments) {{
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(atoi(arguments[count - 1]), &here);
    if (sched_setaffinity(0, sizeof here, &here)) return 1;
    {vector} a = {fill}(3), b = {fill}(5), sum[{registers}];
#pragma GCC unroll {registers}
    for (int n = 0; n < {registers}; n++) sum[n] = {fill}(0);
    double began = now();
    for (long round = 0; round < {rounds} / {registers}; round++)
#pragma GCC unroll {registers}
        for (int n = 0; n < {registers}; n++) {{
            sum[n] = {multiply}(sum[n], a, b);
            __asm__ volatile("" : "+x"(sum[n]));
        }}
    double seconds = now() - began;
    printf("%.6e\\n", {rounds} * {macs}.0 / seconds);
    return 0;
}}
"""


def macs_per_s() -> float:
    """INT8 multiply-accumulates a second of all processors of this process together."""
    flags = Path("/proc/cpuinfo").read_text()
    kind = WIDE if "avx512_vnni" in flags else NARROW if "avx_vnni" in flags else None
    if kind is None:
        raise EdgeError("this processor has no VNNI instruction")
    compiler = shutil.which("cc")
    if compiler is None:
        raise EdgeError("no cc here: install a C compiler (Debian: gcc)")
    options, vector, multiply, fill, macs = kind
    with tempfile.TemporaryDirectory(prefix="edge-vnni-") as name:
        source, program = Path(name) / "vnni.c", Path(name) / "vnni"
        source.write_text(
            SOURCE.format(
                vector=vector,
                multiply=multiply,
                fill=fill,
                registers=REGISTERS,
                rounds=ROUNDS,
                macs=macs,
            )
        )
        subprocess.run([compiler, "-O2", *options, str(source), "-o", str(program)], check=True)
        loops = [
            subprocess.Popen([str(program), str(cpu)], stdout=subprocess.PIPE)
            for cpu in sorted(os.sched_getaffinity(0))
        ]
        return sum(float(loop.communicate()[0]) for loop in loops)


def main(names: list[str]) -> int:
    """Print the limit, the model's work, and the ratio; exit code 2 where it cannot be had."""
    try:
        model = package.find(names[0] if names else "deeppcb")
        limit = macs_per_s()
        macs = graph(model.model_bytes()).macs
        bare = measure(model, "cpu", frames.frames(model).parts)
    except EdgeError as error:
        print(f"bench.vnni: {error}", file=sys.stderr)
        return 2
    least_ms = 1000 * macs / limit
    print(f"VNNI limit       {limit / 1e9:.0f} GMAC/s on {len(os.sched_getaffinity(0))} processors")
    print(f"{model.manifest.name:16} {macs / 1e6:.1f} MMAC: {least_ms:.3f} ms at the limit")
    print(f"session.run      p50 {bare.p50:.2f} ms, {bare.p50 / least_ms:.1f} times the limit")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
