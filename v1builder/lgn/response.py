"""From a movie to the firing rates of LGN units.

    rate_u(t) = sum over subunits s of u: relu( sum_lag K_s(lag) (F_s . movie(t - lag)) + offset_s )

F_s is the receptive field (`lgn.spatial`), K_s the temporal kernel (`lgn.kernels`). The screen is
gray (0) before the movie. This is the model of BMTK FilterNet, evaluated for all units at once: one
sparse product for the space, one batched Fourier convolution per block of time. What a block needs of the
past is kept in one buffer, so a movie may come in pieces and be of any length.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from v1builder.lgn.kernels import resample
from v1builder.lgn.movie import FactoredMovie
from v1builder.lgn.spatial import Raster, receptive_fields
from v1builder.lgn.units import subunits
from v1builder.load.network import NodePopulation
from v1builder.schema.errors import ConfigError

#: Subunits convolved at a time, so that their spectra stay in the cache.
_CHUNK = 256
#: Torch computes a sparse product in one thread, so the fields are cut into parts for several.
_FIELD_PARTS = 4
#: Frames of one sparse product; the pixels of more would not stay in the cache.
_FRAMES = 64


class LGN:
    """Filters of an LGN population on one raster and time step.

    Attributes:
        n_units: size of the population.
        active: [active] positions of the units that are evaluated.
        raster: of the movies.
        dt: ms per frame.
        offset: [subunit] Hz, added to what its filters say before rectification.
        unit: [subunit] position of its unit: subunits that are units of their own, then those of composite
            units. The rate of a unit is the sum of those of its subunits.
    """

    def __init__(
        self,
        nodes: NodePopulation,
        *,
        dt: float = 1.0,
        field: tuple[float, float] = (120.0, 80.0),
        pixels_per_degree: float = 1.0,
        active: NDArray[np.int64] | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        """Prepare the filters.

        Args:
            nodes: LGN nodes with the attributes BMTK FilterNet reads.
            dt: ms per movie frame and per value of the rates.
            field: width and height of the visual field, degrees.
            pixels_per_degree: of the movie.
            active: positions of the units to evaluate; the others stay silent. Units that project
                nowhere need no evaluation.
            dtype: of movies and rates.
            device: of movies and rates.

        Raises:
            NetworkError: an attribute is missing or not finite, or a class is unknown.
            ConfigError: dt, field or pixels_per_degree is not positive.
        """
        for name, value in (
            ("dt", dt),
            ("pixels_per_degree", pixels_per_degree),
            ("field", min(field)),
        ):
            if not value > 0:
                raise ConfigError.of(f"{name} must be positive", "LGN", value)
        self.n_units = len(nodes)
        self.dt = dt
        self.raster = Raster(*field, pixels_per_degree)
        self.dtype, self.device = dtype, torch.device(device)
        rows = np.arange(len(nodes)) if active is None else np.asarray(active, dtype=np.int64)
        parts = subunits(nodes, rows)
        self.active = torch.as_tensor(rows, device=self.device)
        fields = receptive_fields(parts.x, parts.y, parts.size, self.raster)
        bounds = np.linspace(0, len(parts.x), _FIELD_PARTS + 1).astype(np.int64)
        self._fields = [self._sparse(fields[a:b]) for a, b in pairwise(bounds)]
        self._kernels = self._tensor(resample(parts.kernels, dt))
        n_lags = self._kernels.shape[1]
        self._block_steps = _fast_length(2 * n_lags) - n_lags + 1
        self._kept_length, self._kept = 0, list[Tensor]()
        self.offset = self._tensor(parts.offset)
        composite = torch.as_tensor(parts.composite, device=self.device)
        self._composite = composite
        self.unit = torch.cat([self.active, self.active[composite]])

    def _tensor(self, values: NDArray[np.float64]) -> Tensor:
        return torch.as_tensor(values, dtype=self.dtype, device=self.device)

    def _sparse(self, matrix: sparse.csr_array) -> Tensor:
        with warnings.catch_warnings():
            # torch calls its CSR support a beta; only its matrix product is used here.
            warnings.filterwarnings(
                "ignore", message="Sparse (CSR|invariant)", category=UserWarning
            )
            return torch.sparse_csr_tensor(
                torch.from_numpy(matrix.indptr.astype(np.int64)),
                torch.from_numpy(matrix.indices.astype(np.int64)),
                torch.from_numpy(matrix.data),
                size=matrix.shape,
                dtype=self.dtype,
                device=self.device,
                check_invariants=False,
            )

    def rates(self, movie: Tensor | FactoredMovie) -> Tensor:
        """Rates in Hz, [step, unit], of a movie [step, row, column] in [-1, 1]; gray is 0.

        Raises:
            ConfigError: the frames do not fit the raster.
        """
        rates = self._silence(len(movie.course if isinstance(movie, FactoredMovie) else movie))
        first = 0
        for block in self._filtered(self._drives(movie)):
            rates[first : first + len(block), self.active] = block
            first += len(block)
        return rates

    def stream(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Rates of a movie that comes in blocks [step, row, column] of any length, block by block.

        The blocks continue one another: the result is that of the whole movie. A block costs a Fourier
        transform of its length plus that of the kernels (some 600 ms), so blocks of 100 ms or more
        are cheap and shorter ones are not.
        """
        drives = (drive for movie in blocks for drive in self._drives(movie))
        for block in self._filtered(drives):
            rates = self._silence(len(block))
            rates[:, self.active] = block
            yield rates

    def _silence(self, n_steps: int) -> Tensor:
        return torch.zeros(n_steps, self.n_units, dtype=self.dtype, device=self.device)

    def _drives(self, movie: Tensor | FactoredMovie) -> Iterator[list[Tensor]]:
        """The drive of at most `_block_steps` steps at a time, in pieces [subunit, step]."""
        if isinstance(movie, FactoredMovie):
            drive = self.frame_drive(movie.frames)
            for course in movie.course.to(drive).split(self._block_steps):
                yield [drive.T @ part.T for part in course.split(_FRAMES)]
        else:
            for block in movie.split(self._block_steps):
                yield list(self._seen(block))

    def frame_drive(self, frames: Tensor) -> Tensor:
        """What each subunit's receptive field sees of each frame, [frame, subunit].

        Raises:
            ConfigError: the frames do not fit the raster.
        """
        return torch.cat([part.T for part in self._seen(frames)])

    def _seen(self, frames: Tensor) -> Iterator[Tensor]:
        """What the receptive fields see of some frames at a time, [subunit, frame]."""
        if frames.shape[1:] != self.raster.shape:
            raise ConfigError.of(
                "the movie does not fit the LGN's raster",
                "LGN, frames [frame, row, column]",
                tuple(frames.shape),
                f"give frames of {self.raster.shape[0]} rows and {self.raster.shape[1]} columns",
            )
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for part in frames.flatten(1).split(_FRAMES):
                pixels = part.to(self.offset).T.contiguous()
                yield torch.cat(list(pool.map(partial(_product, other=pixels), self._fields)))

    def course_response(self, course: Tensor) -> Tensor:
        """Each time course [step, frame] through each subunit's kernel, [frame, step, subunit].

        With `frame_drive` and `rates_of` it gives the rates of many movies that differ in their
        frames only, at the price of one multiplication each.
        """
        course = course.to(self.offset)
        n_steps, n_lags = len(course), self._kernels.shape[1]
        length = _fast_length(n_steps + n_lags - 1)
        spectrum = torch.fft.rfft(course.T, length)
        parts = []
        for kernels in self._kernels.split(_CHUNK):
            product = spectrum[:, None] * torch.fft.rfft(kernels, length)
            parts.append(torch.fft.irfft(product, length)[..., :n_steps].transpose(1, 2))
        return torch.cat(parts, dim=2)

    def rates_of(
        self, drive: Tensor | Sequence[Tensor], response: Tensor | Sequence[Tensor]
    ) -> Tensor:
        """Rates in Hz of the active units, [step, active].

        Args:
            drive: [frame, subunit] from `frame_drive`.
            response: [frame, step, subunit] from `course_response`.
        """
        filtered = response[0] * drive[0]
        for frame in range(1, len(drive)):
            filtered.addcmul_(response[frame], drive[frame])
        return self._rectified(filtered)

    def _rectified(self, filtered: Tensor) -> Tensor:
        """[step, subunit] -> [step, active] Hz. Overwrites its argument."""
        positive = filtered.add_(self.offset).clamp_(min=0)
        rates = positive[:, : len(self.active)]
        if len(self._composite):
            rates.index_add_(1, self._composite, positive[:, len(self.active) :])
        return rates

    def _filtered(self, drives: Iterable[list[Tensor]]) -> Iterator[Tensor]:
        """Rates [step, active] of consecutive blocks of drive (overlap-save)."""
        n_past = self._kernels.shape[1] - 1
        buffer = self.offset.new_zeros(len(self.offset), n_past + self._block_steps)
        for pieces in drives:
            end = n_past
            for piece in pieces:
                buffer[:, end : end + piece.shape[1]] = piece
                end += piece.shape[1]
            yield self._convolved(buffer[:, :end])
            buffer[:, :n_past] = buffer[:, end - n_past : end].clone()

    def _convolved(self, signal: Tensor) -> Tensor:
        """Rates [step, active] of a signal [subunit, step] that begins with what the kernels remember."""
        n_past = self._kernels.shape[1] - 1
        length = _fast_length(signal.shape[1])
        # Subunits that are units of their own come first, those of composite units after them.
        drive = self.offset.new_empty(signal.shape[1] - n_past, len(self.offset))
        for first, spectra in self._spectra(length):
            rows = slice(first, first + len(spectra))
            product = torch.fft.rfft(signal[rows], length).mul_(spectra)
            filtered = torch.fft.irfft(product, length)
            drive[:, rows] = filtered[:, n_past : signal.shape[1]].T
        return self._rectified(drive)

    def _spectra(self, length: int) -> Iterator[tuple[int, Tensor]]:
        """Kernels of some subunits at a time in the frequency domain, kept for the last length used."""
        if self._kept_length != length:
            self._kept_length = length
            self._kept = [torch.fft.rfft(part, length) for part in self._kernels.split(_CHUNK)]
        first = 0
        for spectra in self._kept:
            yield first, spectra
            first += len(spectra)


def _product(matrix: Tensor, other: Tensor) -> Tensor:
    return matrix @ other


def _fast_length(n: int) -> int:
    """The next power of two."""
    return 1 << (n - 1).bit_length()
