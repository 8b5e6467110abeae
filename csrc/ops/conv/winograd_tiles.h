// The tiles of Winograd's algorithm: where their inputs are, and reading them.
#ifndef LANEWISE_OPS_CONV_WINOGRAD_TILES_H_
#define LANEWISE_OPS_CONV_WINOGRAD_TILES_H_

#include <algorithm>
#include <cstdint>

#include "kernels/kernels.h"
#include "ops/conv/border.h"
#include "ops/conv/problem.h"
#include "ops/elements.h"
#include "ops/strided.h"

namespace lanewise {

// Of a transformed tile.
constexpr int64_t MostTileElements() {
  size_t most = 0;
  for (const WinogradTile& tile : kWinogradTiles) most = std::max(most, tile.elements());
  return static_cast<int64_t>(most);
}
// Neighbouring tiles of a row whose pixels are copied at a time.
constexpr int64_t kSegment = 16;

// The tiles of F(outputs, taps) along one axis. The outputs whose numbers leave the same rest by a
// dilation d, a phase, are a convolution without dilation of every d-th input, and have tiles of
// their own.
struct TileAxis {
  WindowAxis axis;
  int64_t outputs, taps;
  int64_t per_phase, count;

  TileAxis(const WindowAxis& axis_, const WinogradAxis& f)
      : axis(axis_),
        outputs(f.outputs),
        taps(f.taps),
        per_phase(CeilDiv(CeilDiv(axis.out, axis.dilation), outputs)),
        count(std::min(axis.dilation, axis.out) * per_phase) {}

  int64_t step() const { return axis.dilation; }
  // The first output of a tile.
  int64_t Output(int64_t tile) const {
    return tile / per_phase + tile % per_phase * outputs * step();
  }
  // How many outputs the phase has from this tile on.
  int64_t Left(int64_t tile) const {
    return std::max<int64_t>(0, CeilDiv(axis.out - Output(tile), step()));
  }
  // How many of its inputs, counted from the tile's first, anybody asks for; further ones count as
  // zeros, lest they add their errors.
  int64_t Asked(int64_t tile) const { return Left(tile) == 0 ? 0 : Left(tile) + taps - 1; }
  // The inputs under so many neighbouring tiles.
  int64_t Inputs(int64_t tiles) const { return tiles * outputs + taps - 1; }
  int64_t Position(int64_t tile, int64_t s) const { return axis.First(Output(tile)) + s * step(); }
  // The input that stands at position s of the tile.
  int64_t Input(int64_t tile, int64_t s, const Border& border) const {
    return s < Asked(tile) ? border(Position(tile, s)) : Border::kNone;
  }
};

// `count` neighbouring tiles of one row of tiles of one image, the first being tile `tile` of a
// run.
struct Segment {
  int64_t image, row, column, count, tile;
};

// f(segment) for each segment of the tiles [begin, begin + count), which are numbered through the
// images from `first_image` on, row by row.
template <class F>
void ForEachSegment(const TileAxis& rows, const TileAxis& columns, int64_t first_image,
                    int64_t begin, int64_t count, const F& f) {
  for (int64_t done = 0, n = 0; done < count; done += n) {
    const int64_t row = (begin + done) / columns.count;  // through the images
    const int64_t column = (begin + done) % columns.count;
    n = std::min({count - done, columns.per_phase - column % columns.per_phase, kSegment});
    f(Segment{first_image + row / rows.count, row % rows.count, column, n, done});
  }
}

// The pixels under tiles, in place or copied to where a tile's channels are neighbours.
struct TileReader {
  Source<float> x;
  ImageStrides strides;
  TileAxis rows, columns;
  Border row_border, column_border;
  const WinogradKernels& kernels;  // of which only `transpose` is used

  // Whether pixels can be read where they are.
  bool in_place() const { return x.native() && strides.c == 1; }
  // Inputs of a tile.
  int64_t elements() const { return rows.Inputs(1) * columns.Inputs(1); }

  // pixels[j·elements() + r·width + s] = pixel (r, s) of tile j of the segment, at channel `first`,
  // or `zeros`. Only in place.
  void Pixels(const Segment& segment, int64_t first, const float* zeros,
              const float** pixels) const;

  // The same of a copy of n channels, with `width` elements from one pixel to the next. `copy`
  // holds CopyCount(width) elements.
  void Copy(const Segment& segment, int64_t first, int64_t n, int64_t width, float* copy,
            const float** pixels) const;
  int64_t CopyCount(int64_t width) const {
    return rows.Inputs(1) * columns.Inputs(std::min(columns.per_phase, kSegment)) * width;
  }
};

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_WINOGRAD_TILES_H_
