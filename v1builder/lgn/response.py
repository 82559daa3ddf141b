"""From a movie to the firing rates of LGN units.

    rate_u(t) = sum over subunits s of u: relu( sum_lag K_s(lag) (F_s . movie(t - lag)) + offset_s )

F_s is the receptive field (`lgn.spatial`), K_s the temporal kernel (`lgn.kernels`). The screen is
gray (0) before the movie. This is the model of BMTK FilterNet, evaluated for all units at once: one
sparse product for the space, one batched Fourier convolution per block of time.
"""

import warnings
from collections.abc import Iterable, Iterator

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
_CHUNK = 512
#: Frames of one sparse product; the pixels of more would not stay in the cache.
_FRAMES = 64


class LGN:
    """Filters of an LGN population on one raster and time step.

    Attributes:
        n_units: size of the population.
        active: [active] positions of the units that are evaluated.
        raster: of the movies.
        dt: ms per frame.
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
        self._fields = self._sparse(receptive_fields(parts.x, parts.y, parts.size, self.raster))
        self._kernels = self._tensor(resample(parts.kernels, dt))
        n_lags = self._kernels.shape[1]
        self._block_steps = _fast_length(2 * n_lags) - n_lags + 1
        self._offset = self._tensor(parts.offset)
        self._composite = torch.as_tensor(parts.composite, device=self.device)

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
        if isinstance(movie, FactoredMovie):
            drive = self.frame_drive(movie.frames)
            courses = movie.course.to(drive).split(self._block_steps)
            drives: Iterable[Tensor] = (drive.T @ course.T for course in courses)
            n_steps = len(movie.course)
        else:
            drives = (self.frame_drive(block).T for block in movie.split(self._block_steps))
            n_steps = len(movie)
        rates = torch.zeros(n_steps, self.n_units, dtype=self.dtype, device=self.device)
        first = 0
        for block in self._filtered(drives):
            rates[first : first + len(block), self.active] = block
            first += len(block)
        return rates

    def stream(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Rates of a movie that comes in blocks [step, row, column] of any length, block by block.

        The blocks continue one another: the result is that of the whole movie.
        """
        for block in self._filtered(self.frame_drive(movie).T for movie in blocks):
            rates = torch.zeros(len(block), self.n_units, dtype=self.dtype, device=self.device)
            rates[:, self.active] = block
            yield rates

    def frame_drive(self, frames: Tensor) -> Tensor:
        """What each subunit's receptive field sees of each frame, [frame, subunit].

        Raises:
            ConfigError: the frames do not fit the raster.
        """
        if frames.shape[1:] != self.raster.shape:
            raise ConfigError.of(
                "the movie does not fit the LGN's raster",
                "LGN, frames [frame, row, column]",
                tuple(frames.shape),
                f"give frames of {self.raster.shape[0]} rows and {self.raster.shape[1]} columns",
            )
        pixels = frames.to(self._offset).flatten(1)
        blocks = [(self._fields @ part.T.contiguous()).T for part in pixels.split(_FRAMES)]
        return torch.cat(blocks)

    def course_response(self, course: Tensor) -> Tensor:
        """Each time course [step, frame] through each subunit's kernel, [frame, step, subunit].

        With `frame_drive` and `rates_of` it gives the rates of many movies that differ in their
        frames only, at the price of one multiplication each.
        """
        course = course.to(self._offset)
        n_steps, n_lags = len(course), self._kernels.shape[1]
        length = _fast_length(n_steps + n_lags - 1)
        spectrum = torch.fft.rfft(course.T, length)
        parts = []
        for kernels in self._kernels.split(_CHUNK):
            product = spectrum[:, None] * torch.fft.rfft(kernels, length)
            parts.append(torch.fft.irfft(product, length)[..., :n_steps].transpose(1, 2))
        return torch.cat(parts, dim=2)

    def rates_of(self, drive: Tensor, response: Tensor) -> Tensor:
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
        positive = filtered.add_(self._offset).clamp_(min=0)
        rates = positive[:, : len(self.active)]
        if len(self._composite):
            rates.index_add_(1, self._composite, positive[:, len(self.active) :])
        return rates

    def _filtered(self, drives: Iterable[Tensor]) -> Iterator[Tensor]:
        """Rates [step, active] of consecutive blocks of drive [subunit, step] (overlap-save)."""
        n_lags = self._kernels.shape[1]
        past = self._offset.new_zeros(len(self._offset), n_lags - 1)
        for drive in drives:
            for block in drive.split(self._block_steps, dim=1):
                signal = torch.cat([past, block], dim=1)
                past = signal[:, signal.shape[1] - n_lags + 1 :]
                yield self._rectified(self._convolved(signal).T.contiguous())

    def _convolved(self, signal: Tensor) -> Tensor:
        """Causal convolution of [subunit, step], without the steps that lack a full past."""
        n_lags = self._kernels.shape[1]
        length = _fast_length(signal.shape[1])
        parts = []
        for rows, kernels in zip(signal.split(_CHUNK), self._kernels.split(_CHUNK), strict=True):
            product = torch.fft.rfft(rows, length) * torch.fft.rfft(kernels, length)
            parts.append(torch.fft.irfft(product, length)[:, n_lags - 1 : signal.shape[1]])
        return torch.cat(parts)


def _fast_length(n: int) -> int:
    """The next power of two."""
    return 1 << (n - 1).bit_length()
