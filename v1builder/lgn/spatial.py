"""Receptive fields of LGN units on a pixel raster.

The visual field is in degrees: x along the columns of a movie frame, y along its rows, both growing
with the index; pixel k of an axis lies at coordinate k / pixels_per_degree. This is the frame of
the LGN nodes' x and y, and of a tuning angle: angle a points along (cos a, sin a) in (x, y).

A receptive field is a Gaussian with standard deviation size/3 per axis, drawn as BMTK FilterNet
draws it: a Gaussian cut at 4 standard deviations, sampled on whole pixels (on an axis with an even
number of pixels, averaged over the two pixels next to the middle), moved to the unit's position by
linear interpolation, and scaled to a sum of 1 over the pixels that lie on the raster. All of that
is a product of a row and a column profile.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

FloatArray = NDArray[np.float64]
_TRUNCATE = 4.0


@dataclass(frozen=True)
class Raster:
    """A pixel raster over the visual field.

    Attributes:
        width, height: degrees.
        pixels_per_degree: 1/deg.
    """

    width: float = 120.0
    height: float = 80.0
    pixels_per_degree: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a frame."""
        return round(self.height * self.pixels_per_degree), round(
            self.width * self.pixels_per_degree
        )

    @property
    def middle(self) -> tuple[float, float]:
        """Position (x, y) of the middle of the frame, degrees."""
        return float(self.x.mean()), float(self.y.mean())

    @property
    def y(self) -> FloatArray:
        """[row] degrees."""
        return np.arange(self.shape[0]) / self.pixels_per_degree

    @property
    def x(self) -> FloatArray:
        """[column] degrees."""
        return np.arange(self.shape[1]) / self.pixels_per_degree


def _gaussian(lag: NDArray[np.int64], sigma: FloatArray) -> FloatArray:
    """Unnormalised Gaussian of whole-pixel lags, 0 beyond the cut."""
    reach = np.floor(_TRUNCATE * sigma + 0.5)
    return np.where(np.abs(lag) <= reach, np.exp(-0.5 * (lag / sigma) ** 2), 0.0)


def _interpolated(offset: FloatArray, sigma: FloatArray) -> FloatArray:
    left = np.floor(offset)
    part = offset - left
    lag = left.astype(np.int64)
    return (1 - part) * _gaussian(lag, sigma) + part * _gaussian(lag + 1, sigma)


def profiles(
    center: FloatArray, sigma: FloatArray, n_pixels: int, first: NDArray[np.int64], n_taps: int
) -> FloatArray:
    """Values of the axis profile at pixels first .. first + n_taps - 1, 0 outside the raster.

    Args:
        center: [unit] pixels.
        sigma: [unit] pixels.
        n_pixels: pixels of the axis.
        first: [unit] first pixel.
        n_taps: number of pixels.

    Returns:
        [unit, tap], summing to 1 over the raster.
    """
    pixel = first[:, None] + np.arange(n_taps)
    offset, width = pixel - center[:, None], sigma[:, None]
    if n_pixels % 2:
        values = _interpolated(offset, width)
    else:
        # The Gaussian sits between pixels: its samples at half-integer lags are means of two, and
        # these are what is interpolated.
        left = np.floor(offset - 0.5) + 0.5
        part = offset - left
        values = (1 - part) * _interpolated(left, width) + part * _interpolated(left + 1, width)
    values = np.where((pixel >= 0) & (pixel < n_pixels), values, 0.0)
    total = values.sum(axis=1, keepdims=True)
    return np.divide(values, total, out=np.zeros_like(values), where=total > 0)


def receptive_fields(
    x: FloatArray, y: FloatArray, size: FloatArray, raster: Raster
) -> sparse.csr_array:
    """Sparse matrix [unit, pixel] of receptive fields, pixels in row-major order.

    Args:
        x: [unit] centre, degrees.
        y: [unit] centre, degrees.
        size: [unit] spatial size, degrees (three standard deviations).
        raster: of the movie.

    Returns:
        Rows sum to 1; a unit that does not reach the raster has an empty row.
    """
    n_rows, n_columns = raster.shape
    sigma = size / 3 * raster.pixels_per_degree
    n_taps = 2 * int(np.ceil(_TRUNCATE * sigma.max() + 2)) + 1
    rows, columns = y * raster.pixels_per_degree, x * raster.pixels_per_degree
    first_row = np.floor(rows).astype(np.int64) - n_taps // 2
    first_column = np.floor(columns).astype(np.int64) - n_taps // 2
    by_row = profiles(rows, sigma, n_rows, first_row, n_taps)
    by_column = profiles(columns, sigma, n_columns, first_column, n_taps)
    blocks = [
        _outer(by_row[part], by_column[part], first_row[part], first_column[part], raster.shape)
        for part in np.array_split(np.arange(len(x)), max(1, len(x) // 1024))
    ]
    return sparse.csr_array(sparse.vstack(blocks, format="csr"))


def _outer(
    by_row: FloatArray,
    by_column: FloatArray,
    first_row: NDArray[np.int64],
    first_column: NDArray[np.int64],
    shape: tuple[int, int],
) -> sparse.csr_array:
    values = by_row[:, :, None] * by_column[:, None, :]
    unit, row, column = np.nonzero(values)
    pixel = (first_row[unit] + row) * shape[1] + first_column[unit] + column
    data = values[unit, row, column]
    return sparse.csr_array((data, (unit, pixel)), shape=(len(by_row), shape[0] * shape[1]))
