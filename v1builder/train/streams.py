"""Random draws by name: who asks for the same name gets the same draws, whatever was drawn before."""

import hashlib

import torch


def stream(seed: int, *names: str | int) -> torch.Generator:
    """The random stream of `seed` with this name; equal names give equal draws, others independent ones."""
    digest = hashlib.sha256("/".join(str(part) for part in (seed, *names)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
