#include "ops/conv/winograd_tiles.h"

#include "ops/conv/pack.h"

namespace lanewise {

void TileReader::Pixels(const Segment& segment, int64_t first, const float* zeros,
                        const float** pixels) const {
  const float* const from = (x + (segment.image * strides.n + first)).InPlace();
  const int64_t height = rows.Inputs(1), width = columns.Inputs(1);
  const int64_t count = columns.Inputs(segment.count);
  int64_t at[kSegment * MostTileElements()];
  for (int64_t s = 0; s < count; ++s) at[s] = columns.Input(segment.column, s, column_border);
  for (int64_t r = 0; r < height; ++r) {
    const int64_t ih = rows.Input(segment.row, r, row_border);
    const float* const row = from + ih * strides.h;
    const float* line[kSegment * MostTileElements()];
    for (int64_t s = 0; s < count; ++s) {
      const bool none = ih == Border::kNone || at[s] == Border::kNone;
      line[s] = none ? zeros : row + at[s] * strides.w;
    }
    for (int64_t j = 0; j < segment.count; ++j) {
      const float** const to = pixels + (j * height + r) * width;
      for (int64_t s = 0; s < width; ++s) to[s] = line[j * columns.outputs + s];
    }
  }
}

void TileReader::Copy(const Segment& segment, int64_t first, int64_t n, int64_t width, float* copy,
                      const float** pixels) const {
  const Source<float> from = x + (segment.image * strides.n + first * strides.c);
  const int64_t count = columns.Inputs(segment.count), of_tile = columns.Inputs(1);
  for (int64_t j = 0; j < segment.count; ++j) {
    for (int64_t e = 0; e < elements(); ++e) {
      const int64_t column = j * columns.outputs + e % of_tile;
      *pixels++ = copy + (e / of_tile * count + column) * width;
    }
  }
  // Without dilation, columns whose input is column start + s of the image and not the border.
  const int64_t start = columns.Position(segment.column, 0);
  const Interior inside(start, 1, std::min(count, columns.Asked(segment.column)), columns.axis.in);
  // Planes: rows of pixels, one per channel, are transposed.
  const bool planes = x.native() && strides.w == 1 && strides.c > 0 && columns.step() == 1;
  for (int64_t r = 0; r < rows.Inputs(1); ++r, copy += count * width) {
    const int64_t ih = rows.Input(segment.row, r, row_border);
    const Source<float> row = from + ih * strides.h;
    const auto copy_each = [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) {
        const int64_t iw = columns.Input(segment.column, s, column_border);
        if (ih == Border::kNone || iw == Border::kNone) {
          std::fill_n(copy + s * width, n, 0.0f);
        } else {
          (row + iw * strides.w).Read(strides.c, n, copy + s * width);
        }
      }
    };
    if (planes && ih != Border::kNone) {
      copy_each(0, inside.begin);
      kernels.transpose((row + (start + inside.begin)).InPlace(), strides.c, n,
                        inside.end - inside.begin, copy + inside.begin * width, width);
      copy_each(inside.end, count);
    } else {
      copy_each(0, count);
    }
  }
}

}  // namespace lanewise
