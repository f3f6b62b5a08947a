"""Names of speed tests, as `llmhost bench` prints them: pp512, tg128, tg32@d4096, tg16@d128x8."""
import re
from dataclasses import dataclass

from problem import Problem

PATTERN = re.compile(r"(pp|tg)([1-9]\d{0,6})(?:@d([1-9]\d{0,6}))?(?:x([1-9]\d{0,3}))?")
BATCHED = [f"tg16@d128x{sequences}" for sequences in (1, 4, 8, 16)]


@dataclass(frozen=True)
class SpeedTest:
    name: str
    prompt: int = 0
    generate: int = 0
    depth: int = 0
    sequences: int = 1
    batched: bool = False


def parse(name):
    match = PATTERN.fullmatch(name)
    if match is None or (match[1] == "pp" and (match[3] or match[4])) or (match[4] and not match[3]):
        raise Problem(f"no test '{name}'; a test is pp512, tg128, tg32@d4096 or, for 8 sequences, tg16@d128x8")
    tokens, depth, sequences = int(match[2]), int(match[3] or 0), int(match[4] or 1)
    if match[1] == "pp":
        return SpeedTest(name, prompt=tokens)
    return SpeedTest(name, generate=tokens, depth=depth, sequences=sequences, batched=match[4] is not None)
