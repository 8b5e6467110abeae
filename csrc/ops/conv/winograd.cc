// Winograd's F(4×4, 3×3) for 3×3 filters with stride 1: kernels/winograd-inl.h has the formulas.
//
//   task            a rectangle of tiles of 4×4 outputs, small enough for V and M to stay in L2
//     V = Bᵀ·d·B    [36][tile][channel]; from pixels in place or, where these are not float32
//                   channels side by side, from a few channels of the rectangle at a time, copied
//     panel         NR output channels
//       M = U·V     [36][tile][NR], 36 matrix products
//       Aᵀ·M·A      bias, activation, store
//
// U, the transformed filters, is [panel][36][channel][NR]. Channels are summed in blocks of a fixed
// size, so how tiles are grouped changes no bit.
#include <algorithm>
#include <vector>

#include "kernels/kernels.h"
#include "ops/conv/packed_filter.h"
#include "ops/conv/problem.h"
#include "ops/strided.h"
#include "runtime/buffer.h"
#include "runtime/cpu.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

constexpr int64_t kTile = 4, kInput = 6, kElements = kInput * kInput;
// Channels whose products are summed before they are added up: on random data of 256 channels the
// largest error falls from 1.0e-5 of the outputs' size to 5.4e-6, where the ordered sum has 7.7e-6.
// A block of U is 4 KB, so it stays in L1 for all tiles.
constexpr int64_t kChannelBlock = 64;
constexpr double kFlopsPerNs = 40;
// Transformed filters kept at a time. They stay in L3 for all tiles, and an allocation of this size
// comes from memory that the process has touched before: 38 MB of fresh pages take 20 ms.
constexpr int64_t kFilterBytes = int64_t{10} << 20;

// How the tiles of an image are grouped. Only speed depends on it.
struct Plan {
  int64_t mr, nr;
  int64_t panels;  // of output channels
  int64_t depth;   // distance of V's tiles: the channels, to a whole number of vectors, and one
                   // vector more, so that tiles do not share an L1 set
  int64_t u_step;  // distance of U's 36 elements: a row more than there are channels, for the sets
  Split rows, columns;  // of tiles
  bool in_place;
  int64_t chunk;  // channels copied at a time
  double total_ns;

  int64_t tiles() const { return rows.longest() * columns.longest(); }
};

Plan MakePlan(const ConvProblem<float>& problem, const ConvKernels<float>& kernels) {
  const ConvShape& shape = problem.shape;
  const int64_t mr = kernels.mr, nr = kernels.nr;
  const int64_t depth = RoundUp(shape.group_c, nr) + nr;
  const int64_t tile_rows = CeilDiv(shape.h.out, kTile), tile_columns = CeilDiv(shape.w.out, kTile);
  // V and M of a tile take 36·(C + NR) floats; three quarters of L2 leave room for U's panels.
  const int64_t tile_bytes = kElements * (depth + nr) * int64_t{sizeof(float)};
  // Tiles of many channels are taken from L3, so that each panel serves two of the kernel's calls.
  const int64_t l2 = Caches().l2;
  const int64_t most = std::max<int64_t>(
      1, std::min(std::max(2 * mr, l2 * 3 / 4 / tile_bytes), 3 * l2 / 2 / tile_bytes));
  const double total_ns = problem.flops() / 4 / kFlopsPerNs;
  const int64_t threads = ThreadsFor(total_ns);
  const int64_t wanted = threads == 1 ? 1 : CeilDiv(4 * threads, problem.batch);
  const int64_t tiles =
      std::clamp<int64_t>(CeilDiv(tile_rows * tile_columns, wanted), std::min(mr, most), most);
  const Split columns(tile_columns, 1, std::min(tile_columns, tiles));
  const Split rows(tile_rows, 1, std::max<int64_t>(1, tiles / columns.longest()));
  const bool in_place = problem.x.native() && problem.x_strides.c == 1;
  return {mr,
          nr,
          CeilDiv(shape.group_k, nr),
          depth,
          (shape.group_c + 1) * nr,
          rows,
          columns,
          in_place,
          2 * nr,
          total_ns};
}

// U as [panel][36][channel][NR], zeros past the last filter. A task takes a few channels of all
// panels, so that w is read along its rows.
Buffer<float> TransformFilters(const ConvProblem<float>& problem, const WinogradKernels& kernels,
                               const Plan& plan) {
  const ConvShape& shape = problem.shape;
  const FilterStrides& strides = problem.filter_strides;
  const int64_t nr = plan.nr, depth = shape.group_c, panels = plan.panels;
  const int64_t groups = problem.banks * shape.groups;
  Buffer<float> u(groups * panels * kElements * plan.u_step);
  // 9 rows of a channel can be read where they are.
  const bool in_place =
      problem.filter.native() && strides.k == 1 && strides.r == 3 * strides.s && strides.s > 0;
  const Split channels(depth, 1, 8);
  const double ns = 60.0 * double(groups * panels) * double(depth);
  const Work work{groups * channels.count, ns, Scratch::Bytes<float>(9 * nr)};
  ParallelFor(work, [&](int64_t index, Scratch scratch) {
    float* const copy = scratch.Take<float>(9 * nr);
    const int64_t group = index / channels.count, piece = index % channels.count;
    const Source<float> filters =
        problem.filter + (group / shape.groups * strides.n + group % shape.groups * strides.g);
    for (int64_t panel = 0; panel < panels; ++panel) {
      const int64_t n = std::min(nr, shape.group_k - panel * nr);
      float* const to = u.get() + (group * panels + panel) * kElements * plan.u_step;
      if (n < nr) std::fill_n(copy, 9 * nr, 0.0f);
      for (int64_t c = channels.begin(piece); c < channels.end(piece); ++c) {
        const Source<float> from = filters + (c * strides.c + panel * nr * strides.k);
        if (in_place && n == nr) {
          kernels.filter(from.InPlace(), strides.s, nr, to + c * nr, plan.u_step);
          continue;
        }
        for (int64_t tap = 0; tap < 9; ++tap) {
          (from + (tap / 3 * strides.r + tap % 3 * strides.s)).Read(strides.k, n, copy + tap * nr);
        }
        kernels.filter(copy, nr, nr, to + c * nr, plan.u_step);
      }
    }
  });
  return u;
}

class Task {
 public:
  Task(const ConvProblem<float>& problem, const Plan& plan, const WinogradKernels& winograd,
       const float* u, uint8_t* doubted, Scratch scratch)
      : problem_(problem), plan_(plan), winograd_(winograd), u_(u), doubted_(doubted) {
    v_ = scratch.Take<float>(VCount(plan));
    m_ = scratch.Take<float>(MCount(plan));
    pixels_ = scratch.Take<const float*>(kElements);
    rows_ = scratch.Take<const float*>(plan.mr);
    copy_ = scratch.Take<float>(CopyCount(plan));
    zeros_ = scratch.Take<float>(plan.depth);
    stage_ = scratch.Take<float>(StageCount(plan, problem));
    std::fill_n(zeros_, plan.depth, 0.0f);
  }

  static size_t ScratchBytes(const Plan& plan, const ConvProblem<float>& problem) {
    return Scratch::Bytes<float>(VCount(plan)) + Scratch::Bytes<float>(MCount(plan)) +
           Scratch::Bytes<const float*>(kElements) + Scratch::Bytes<const float*>(plan.mr) +
           Scratch::Bytes<float>(CopyCount(plan)) + Scratch::Bytes<float>(plan.depth) +
           Scratch::Bytes<float>(StageCount(plan, problem));
  }

  void Run(int64_t image, int64_t group, int64_t row_piece, int64_t column_piece) {
    const ConvShape& shape = problem_.shape;
    row_ = plan_.rows.begin(row_piece);
    column_ = plan_.columns.begin(column_piece);
    row_count_ = plan_.rows.end(row_piece) - row_;
    column_count_ = plan_.columns.end(column_piece) - column_;
    x_ = problem_.x + (image * problem_.x_strides.n + group * shape.group_c * problem_.x_strides.c);
    if (plan_.in_place) {
      TransformInPlace();
    } else {
      TransformCopies();
    }
    const float* u = u_ + (problem_.bank(image) * shape.groups + group) * plan_.panels * kElements *
                              plan_.u_step;
    for (int64_t panel = 0; panel < plan_.panels; ++panel) {
      Multiply(u + panel * kElements * plan_.u_step);
      Finish(image, group, panel * plan_.nr);
    }
  }

 private:
  static int64_t VCount(const Plan& plan) { return kElements * plan.tiles() * plan.depth; }
  static int64_t MCount(const Plan& plan) { return kElements * plan.tiles() * plan.nr; }
  static int64_t CopyCount(const Plan& plan) {
    if (plan.in_place) return 0;
    return (plan.rows.longest() * kTile + 2) * (plan.columns.longest() * kTile + 2) * plan.chunk;
  }
  // Results of one panel, where they cannot be stored as they come.
  static int64_t StageCount(const Plan& plan, const ConvProblem<float>& problem) {
    return Staged(problem) ? plan.tiles() * kTile * kTile * plan.nr : 0;
  }
  static bool Staged(const ConvProblem<float>& problem) {
    return !problem.out.native() || problem.out_strides.c != 1;
  }
  int64_t Tiles() const { return row_count_ * column_count_; }
  float* V(int64_t tile) const { return v_ + tile * plan_.depth; }

  // The row of x under the first tap of output row `o`, which may be past the last output; kNone
  // past that one's window, so that no pixel that nobody asked for adds its error.
  int64_t InputRow(int64_t o) const {
    const WindowAxis& h = problem_.shape.h;
    return o < h.out + 2 ? problem_.rows(h.First(o)) : Border::kNone;
  }
  int64_t InputColumn(int64_t o) const {
    const WindowAxis& w = problem_.shape.w;
    return o < w.out + 2 ? problem_.columns(w.First(o)) : Border::kNone;
  }

  void TransformInPlace() {
    const ConvShape& shape = problem_.shape;
    const ImageStrides& strides = problem_.x_strides;
    for (int64_t i = 0, tile = 0; i < row_count_; ++i) {
      for (int64_t j = 0; j < column_count_; ++j, ++tile) {
        for (int64_t r = 0; r < kInput; ++r) {
          const int64_t ih = InputRow((row_ + i) * kTile + r);
          for (int64_t s = 0; s < kInput; ++s) {
            const int64_t iw = InputColumn((column_ + j) * kTile + s);
            const bool zeros = ih == Border::kNone || iw == Border::kNone;
            pixels_[r * kInput + s] =
                zeros ? zeros_ : x_.InPlace() + ih * strides.h + iw * strides.w;
          }
        }
        winograd_.input(pixels_, shape.group_c, V(tile), Tiles() * plan_.depth);
      }
    }
  }

  // A few channels of all pixels under the rectangle as [row][column][channel], and their tiles.
  void TransformCopies() {
    const int64_t columns = column_count_ * kTile + 2, chunk = plan_.chunk;
    for (int64_t c = 0; c < problem_.shape.group_c; c += chunk) {
      const int64_t n = std::min(chunk, problem_.shape.group_c - c);
      CopyPixels(c, n);
      for (int64_t i = 0, tile = 0; i < row_count_; ++i) {
        for (int64_t j = 0; j < column_count_; ++j, ++tile) {
          const float* first = copy_ + (i * kTile * columns + j * kTile) * chunk;
          for (int64_t e = 0; e < kElements; ++e) {
            pixels_[e] = first + (e / kInput * columns + e % kInput) * chunk;
          }
          winograd_.input(pixels_, n, V(tile) + c, Tiles() * plan_.depth);
        }
      }
    }
  }

  void CopyPixels(int64_t c, int64_t n) {
    const ImageStrides& strides = problem_.x_strides;
    const int64_t columns = column_count_ * kTile + 2;
    // Columns whose input is the column first + s of the image itself, and not the border.
    const int64_t first = problem_.shape.w.First(column_ * kTile);
    const int64_t asked = problem_.shape.w.out + 2 - column_ * kTile;
    const int64_t begin = std::clamp<int64_t>(-first, 0, columns);
    const int64_t end = std::clamp(std::min(problem_.shape.w.in - first, asked), begin, columns);
    // Planes: rows of pixels, one per channel, are transposed.
    const bool planes = x_.native() && strides.w == 1 && strides.c > 0;
    float* to = copy_;
    for (int64_t r = 0; r < row_count_ * kTile + 2; ++r, to += columns * plan_.chunk) {
      const int64_t ih = InputRow(row_ * kTile + r);
      const Source<float> row = x_ + (ih * strides.h + c * strides.c);
      const auto copy_each = [&](int64_t from, int64_t past) {
        for (int64_t s = from; s < past; ++s) {
          const int64_t iw = InputColumn(column_ * kTile + s);
          if (ih == Border::kNone || iw == Border::kNone) {
            std::fill_n(to + s * plan_.chunk, n, 0.0f);
          } else {
            (row + iw * strides.w).Read(strides.c, n, to + s * plan_.chunk);
          }
        }
      };
      if (planes && ih != Border::kNone) {
        copy_each(0, begin);
        winograd_.transpose((row + (first + begin)).InPlace(), strides.c, n, end - begin,
                            to + begin * plan_.chunk, plan_.chunk);
        copy_each(end, columns);
      } else {
        copy_each(0, columns);
      }
    }
  }

  // M = U·V for one panel of output channels.
  void Multiply(const float* u) {
    const int64_t tiles = Tiles(), nr = plan_.nr, channels = problem_.shape.group_c;
    for (int64_t e = 0; e < kElements; ++e, u += plan_.u_step) {
      for (int64_t c = 0; c < channels; c += kChannelBlock) {
        const int64_t depth = std::min(kChannelBlock, channels - c);
        for (int64_t tile = 0; tile < tiles; tile += plan_.mr) {
          const int64_t count = std::min(plan_.mr, tiles - tile);
          for (int64_t i = 0; i < count; ++i) rows_[i] = V(e * tiles + tile + i) + c;
          winograd_.multiply(rows_, count, depth, u + c * nr, c == 0, m_ + (e * tiles + tile) * nr);
        }
      }
    }
  }

  // The panel of output channels that begins with channel `first` of the group.
  void Finish(int64_t image, int64_t group, int64_t first) {
    const int64_t k = group * problem_.shape.group_k + first;
    const int64_t n = std::min(plan_.nr, problem_.shape.group_k - first);
    const ImageStrides& strides = problem_.out_strides;
    const Sink<float> out = problem_.out + (image * strides.n + k * strides.c);
    const float* bias = problem_.bias + image * problem_.bias_stride + k;
    const auto output = winograd_.output[static_cast<int>(problem_.activation)];
    const int64_t tile_rows = plan_.rows.total, tile_columns = plan_.columns.total;
    const bool staged = Staged(problem_);
    const int64_t stage_row = column_count_ * kTile * plan_.nr;
    for (int64_t i = 0, tile = 0; i < row_count_; ++i) {
      for (int64_t j = 0; j < column_count_; ++j, ++tile) {
        const int64_t oh = (row_ + i) * kTile, ow = (column_ + j) * kTile;
        const int64_t height = std::min(kTile, problem_.shape.h.out - oh);
        const int64_t width = std::min(kTile, problem_.shape.w.out - ow);
        float* to = staged ? stage_ + i * kTile * stage_row + j * kTile * plan_.nr
                           : (out + (oh * strides.h + ow * strides.w)).InPlace();
        const bool finite =
            output(m_ + tile * plan_.nr, Tiles() * plan_.nr, n, bias, to,
                   staged ? stage_row : strides.h, staged ? plan_.nr : strides.w, height, width);
        if (!finite) {
          doubted_[((image * problem_.shape.groups + group) * tile_rows + row_ + i) * tile_columns +
                   column_ + j] = 1;
        }
      }
    }
    if (staged) StoreStage(out, n);
  }

  void StoreStage(const Sink<float>& out, int64_t n) {
    const ImageStrides& strides = problem_.out_strides;
    const int64_t height = std::min(row_count_ * kTile, problem_.shape.h.out - row_ * kTile);
    const int64_t width = std::min(column_count_ * kTile, problem_.shape.w.out - column_ * kTile);
    for (int64_t i = 0; i < height; ++i) {
      const float* from = stage_ + i * column_count_ * kTile * plan_.nr;
      const Sink<float> row = out + ((row_ * kTile + i) * strides.h + column_ * kTile * strides.w);
      if (out.native() && strides.w == 1 && strides.c > 0) {
        winograd_.transpose(from, plan_.nr, width, n, row.InPlace(), strides.c);
        continue;
      }
      for (int64_t j = 0; j < width; ++j) {
        (row + j * strides.w).Write(from + j * plan_.nr, n, strides.c);
      }
    }
  }

  const ConvProblem<float>& problem_;
  const Plan& plan_;
  const WinogradKernels& winograd_;
  const float* const u_;
  uint8_t* const doubted_;
  Source<float> x_;
  int64_t row_ = 0, column_ = 0, row_count_ = 0, column_count_ = 0;  // tiles of the task
  // Scratch.
  float *v_, *m_;
  const float** pixels_;
  const float** rows_;
  float *copy_, *zeros_, *stage_;
};

// The ordered sum for up to `width` columns of the row of tiles that begins at output (oh, ow).
void RedoTiles(const ConvProblem<float>& problem, int64_t image, int64_t group, int64_t oh,
               int64_t ow, int64_t width) {
  const ConvShape& shape = problem.shape;
  ConvProblem<float> part = problem.Images(image, 1).Filters(group, 1, 0, shape.group_k);
  part.shape.h.before -= oh;
  part.shape.w.before -= ow;
  part.shape.h.out = std::min(kTile, shape.h.out - oh);
  part.shape.w.out = std::min(width, shape.w.out - ow);
  part.out = part.out + (oh * problem.out_strides.h + ow * problem.out_strides.w);
  RunDirect(part);
}

// Where a transform met an infinity or a NaN, or overflowed, the tile is the ordered sum instead.
void RedoDoubted(const ConvProblem<float>& problem, const Plan& plan, const uint8_t* doubted) {
  const int64_t rows = plan.rows.total, columns = plan.columns.total;
  for (int64_t i = 0; i < problem.batch * problem.shape.groups * rows; ++i, doubted += columns) {
    const int64_t group = i / rows, oh = i % rows * kTile;  // groups are counted through the images
    for (int64_t j = 0, n = 0; j < columns; j += std::max<int64_t>(1, n)) {
      n = std::find(doubted + j, doubted + columns, 0) - (doubted + j);
      if (n > 0)
        RedoTiles(problem, group / problem.shape.groups, group % problem.shape.groups, oh,
                  j * kTile, n * kTile);
    }
  }
}

// All of a problem whose transformed filters are kept at once.
void RunPart(const ConvProblem<float>& problem, const WinogradKernels& winograd, const Plan& plan) {
  const PackedFilters<float> u = GetFilters(problem, FilterForm::kWinograd, winograd, plan.nr, [&] {
    return TransformFilters(problem, winograd, plan);
  });
  const int64_t tiles = plan.rows.total * plan.columns.total;
  // One flag per image, group and tile: each has one writer.
  std::vector<uint8_t> doubted(problem.batch * problem.shape.groups * tiles);
  const int64_t pieces = plan.rows.count * plan.columns.count;
  const int64_t per_image = problem.shape.groups * pieces;
  const Work work{problem.batch * per_image, plan.total_ns, Task::ScratchBytes(plan, problem)};
  ParallelFor(work, [&](int64_t index, Scratch scratch) {
    Task task(problem, plan, winograd, u.get(), doubted.data(), scratch);
    const int64_t piece = index % pieces;
    task.Run(index / per_image, index % per_image / pieces, piece / plan.columns.count,
             piece % plan.columns.count);
  });
  if (std::find(doubted.begin(), doubted.end(), 1) != doubted.end()) {
    RedoDoubted(problem, plan, doubted.data());
  }
}

}  // namespace

void RunWinograd(const ConvProblem<float>& problem) {
  const SimdTarget target = ActiveTarget();
  const auto& winograd = WinogradKernelsFor(target);
  const auto& conv = ConvKernelsFor<float>(target);
  const ConvShape& shape = problem.shape;
  const int64_t nr = conv.nr, panels = CeilDiv(shape.group_k, nr);
  // As many groups, or output channels of one group, as kFilterBytes hold the filters of; all,
  // where they are kept.
  const int64_t most = problem.forms == nullptr ? kFilterBytes : INT64_MAX;
  const int64_t panel_bytes =
      problem.banks * kElements * (shape.group_c + 1) * nr * int64_t{sizeof(float)};
  const int64_t groups = std::max<int64_t>(1, most / (panels * panel_bytes));
  const int64_t channels =
      groups > 1 ? shape.group_k : std::max<int64_t>(1, most / panel_bytes) * nr;
  for (int64_t g = 0; g < shape.groups; g += groups) {
    for (int64_t k = 0; k < shape.group_k; k += channels) {
      const ConvProblem<float> part = problem.Filters(g, std::min(groups, shape.groups - g), k,
                                                      std::min(channels, shape.group_k - k));
      RunPart(part, winograd, MakePlan(part, conv));
    }
  }
}

}  // namespace lanewise
