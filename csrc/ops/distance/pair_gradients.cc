// Rows that lie one after the other are one run of coordinates, whatever their length, beside which
// the coefficients stand, each once for every coordinate of its row. Both gradients are computed
// while a run is in L1; where memory allows, from x and y to dx and dy without a copy.
#include "ops/distance/pair_gradients.h"

#include <algorithm>

#include "kernels/kernels.h"
#include "lanewise/runtime.h"
#include "ops/distance/finish.h"
#include "ops/elements.h"
#include "ops/merged_axes.h"
#include "ops/strided.h"
#include "runtime/parallel.h"

namespace lanewise::distance {
namespace {

// Coordinates of a run: x, y, c and a result take a third of L1.
constexpr int64_t kRun = 1024;
// Longer rows are shared out in pieces, unless they have to be brought to length 1.
constexpr int64_t kPiece = int64_t{1} << 16;

// grad, d, x, y, dx and dy.
using Positions = MergedAxes<6>;

Positions PositionsOf(const BackwardArguments& arguments) {
  const auto& [grad, x, y, d, dx, dy] = arguments;
  Positions positions;
  for (int a = 0; a < grad.rank; ++a) {
    positions.Append(grad.shape[a], {grad.strides[a], d.strides[a], x.strides[a], y.strides[a],
                                     dx.strides[a], dy.strides[a]});
  }
  return positions;
}

// An operand and the gradient by it.
template <class T>
struct Side {
  const Source<T> from;
  const Results<T> to;
  const int64_t stride, out_stride;  // between coordinates
  const int64_t row, out_row;        // between rows
  const int array;                   // of Positions; the gradient's is two further

  [[gnu::noinline]] Side(const TensorView& view, const TensorView& out, const Positions& positions,
                         int array_)
      : from(view),
        to(out),
        stride(view.strides[view.rank - 1]),
        out_stride(out.strides[out.rank - 1]),
        row(positions.inner_stride(array_)),
        out_row(positions.inner_stride(array_ + 2)),
        array(array_) {}
};

template <class T>
class Pairs {
 public:
  Pairs(const SlopeRecipe& recipe, const BackwardArguments& arguments)
      : kernels_(DistanceBackwardKernelsFor<T>(ActiveTarget())),
        recipe_(recipe),
        d_(arguments.x.shape[arguments.x.rank - 1]),
        positions_(PositionsOf(arguments)),
        grad_(arguments.grad),
        distances_(arguments.d),
        sides_{{arguments.x, arguments.dx, positions_, 2},
               {arguments.y, arguments.dy, positions_, 3}},
        rows_(std::clamp<int64_t>(kRun / std::max<int64_t>(d_, 1), 1, kRun)) {}

  void Run() const {
    if (positions_.count() == 0 || d_ == 0) return;
    const Split pieces(d_, 1, recipe_.unit ? d_ : kPiece);
    const Split rows(positions_.count(), rows_, std::max(rows_, kPiece / d_));
    const double total_ns =
        double(positions_.count()) * (double(d_) * (recipe_.unit ? 5 : 1 + recipe_.term_ns) + 10);
    ParallelFor({rows.count * pieces.count, total_ns, Block::ScratchBytes(*this)},
                [&](int64_t task, Scratch scratch) {
                  const int64_t i = task / pieces.count, piece = task % pieces.count;
                  Block block(*this, scratch);
                  block.Run(rows.begin(i), rows.end(i), pieces.begin(piece), pieces.end(piece));
                });
  }

 private:
  // Some rows after others, in one thread's scratch.
  class Block {
   public:
    Block(const Pairs& pairs, Scratch scratch) : g_(pairs), recipe_(pairs.recipe_) {
      for (T** buffer :
           {&c_, &s_, &grad_line_, &d_line_, &cs_, &ss_, &rows_[0], &rows_[1], &out_}) {
        *buffer = scratch.Take<T>(kRun);
      }
      for (Unit*& units : units_) units = scratch.Take<Unit>(pairs.rows_);
    }
    static size_t ScratchBytes(const Pairs& pairs) {
      return 9 * Scratch::Bytes<T>(kRun) + 2 * Scratch::Bytes<Unit>(pairs.rows_);
    }

    void Run(int64_t begin, int64_t end, int64_t first, int64_t last) {
      g_.positions_.ForEachRun(begin, end, [&](int64_t length, Positions::Offsets offsets) {
        for (int64_t i = 0; i < length; i += count_) {
          offsets_ = offsets;
          for (int a = 0; a < 6; ++a) offsets_[a] += i * g_.positions_.inner_stride(a);
          count_ = std::min(g_.rows_, length - i);
          const bool trusted = FindCoefficients();
          FindUnits();
          for (int64_t k = first; k < last; k += kRun) {
            Slopes(k, std::min(kRun, last - k), trusted);
          }
        }
      });
    }

   private:
    [[gnu::noinline]] bool FindCoefficients() {
      const Positions& at = g_.positions_;
      pairs_ = {};
      pairs_.g = (g_.grad_ + offsets_[0]).Line(at.inner_stride(0), count_, grad_line_);
      if (recipe_.needs_distances()) {
        pairs_.d = (g_.distances_ + offsets_[1]).Line(at.inner_stride(1), count_, d_line_);
      }
      return g_.kernels_.coefficients[static_cast<int>(recipe_.coefficient)](
          pairs_, count_, c_, recipe_.second ? s_ : nullptr);
    }

    [[gnu::noinline]] void FindUnits() {
      if (!recipe_.unit) return;
      for (int side = 0; side < 2; ++side) {
        const Side<T>& own = g_.sides_[side];
        for (int64_t i = 0; i < count_; ++i) {
          const Source<T> row = own.from + (offsets_[own.array] + i * own.row);
          units_[side][i] = UnitOf(Row<T>{row, own.stride}, g_.d_, recipe_.centred);
        }
      }
    }

    // Coordinates [first, first + terms) of all rows; there is one row if these are not all.
    [[gnu::noinline]] void Slopes(int64_t first, int64_t terms, bool trusted) {
      for (int64_t i = 0; i < count_; ++i) {
        std::fill_n(cs_ + i * terms, terms, c_[i]);
        if (recipe_.second) std::fill_n(ss_ + i * terms, terms, s_[i]);
      }
      const T* rows[2];
      for (int side = 0; side < 2; ++side) rows[side] = Packed(g_.sides_[side], side, first, terms);
      for (int side = 0; side < 2; ++side) {
        const Side<T>& own = g_.sides_[side];
        const int64_t at = offsets_[own.array + 2] + first * own.out_stride;
        T* out = own.out_stride == 1 && (count_ == 1 || own.out_row == terms) ? own.to.InPlace(at)
                                                                              : nullptr;
        if (out == nullptr) out = out_;
        Kernel(rows, side, count_ * terms, out);
        if (!trusted) AddExactSlopes(rows, side, terms, out);
        Finish(rows[side], side, terms, out);
        if (out != out_) continue;
        for (int64_t i = 0; i < count_; ++i) {
          own.to.Write(out + i * terms, terms, at + i * own.out_row, own.out_stride);
        }
      }
    }

    // Rows as one run, where they are or in rows_.
    [[gnu::noinline]] const T* Packed(const Side<T>& own, int side, int64_t first,
                                      int64_t terms) const {
      const Source<T> from = own.from + (offsets_[own.array] + first * own.stride);
      const bool run = own.stride == 1 && (count_ == 1 || own.row == terms);
      if (run && from.native() && !recipe_.unit) return from.InPlace();
      for (int64_t i = 0; i < count_; ++i) {
        T* to = rows_[side] + i * terms;
        (from + i * own.row).Read(own.stride, terms, to);
        if (recipe_.unit) {
          std::transform(to, to + terms, to, [&](T x) { return units_[side][i].Of(x); });
        }
      }
      return rows_[side];
    }

    // The last vector, where there is not a whole one, in scratch.
    [[gnu::noinline]] void Kernel(const T* const* rows, int side, int64_t n, T* out) const {
      const auto kernel = g_.kernels_.slopes[static_cast<int>(recipe_.slope)];
      const int64_t lanes = g_.kernels_.lanes, whole = n / lanes * lanes, rest = n - whole;
      kernel(rows[side], rows[1 - side], cs_, ss_, whole, recipe_.p, out);
      if (rest == 0) return;
      const auto rest_of = [&](int of) -> const T* {
        if (rows[of] == rows_[of]) return rows[of] + whole;
        std::copy_n(rows[of] + whole, rest, rows_[of]);
        return rows_[of];
      };
      T* const last = out == out_ ? out + whole : out_;
      kernel(rest_of(side), rest_of(1 - side), cs_ + whole, ss_ + whole, lanes, recipe_.p, last);
      if (out != out_) std::copy_n(last, rest, out + whole);
    }

    // Coefficients that are not trusted are 0.
    [[gnu::noinline]] void AddExactSlopes(const T* const* rows, int side, int64_t terms,
                                          T* out) const {
      for (int64_t i = 0; i < count_; ++i) {
        if (c_[i] != 0) continue;
        for (int64_t k = i * terms; k < (i + 1) * terms; ++k) {
          out[k] += static_cast<T>(
              ExactSlope(recipe_, rows[side][k], rows[1 - side][k], pairs_.g[i], pairs_.d[i], 0));
        }
      }
    }

    [[gnu::noinline]] void Finish(const T* x, int side, int64_t terms, T* out) const {
      const T factor = static_cast<T>(recipe_.factor);
      if (recipe_.unit) {
        for (int64_t i = 0; i < count_; ++i) {
          const Unit unit = units_[side][i];
          const T products = s_[i];
          for (int64_t k = i * terms; k < (i + 1) * terms; ++k) {
            out[k] = unit.Gradient(out[k], x[k], products);
          }
        }
      } else if (factor != 1) {
        for (int64_t k = 0; k < count_ * terms; ++k) out[k] *= factor;
      }
    }

    const Pairs& g_;
    const SlopeRecipe& recipe_;
    Positions::Offsets offsets_{};
    int64_t count_ = 0;  // rows
    PairsOfRows<T> pairs_{};
    // Scratch.
    T *c_ = nullptr, *s_ = nullptr, *grad_line_ = nullptr, *d_line_ = nullptr;  // of each row
    T *cs_ = nullptr, *ss_ = nullptr;   // c and s of each coordinate
    T *rows_[2] = {}, *out_ = nullptr;  // packed, and before they are stored
    Unit* units_[2] = {};
  };

  const DistanceBackwardKernels<T>& kernels_;
  const SlopeRecipe& recipe_;
  const int64_t d_;
  const Positions positions_;
  const Source<T> grad_, distances_;
  const Side<T> sides_[2];
  const int64_t rows_;  // of a run
};

}  // namespace

template <class T>
void RunPairs(const SlopeRecipe& recipe, const BackwardArguments& arguments) {
  Pairs<T>(recipe, arguments).Run();
}

template void RunPairs<float>(const SlopeRecipe&, const BackwardArguments&);
template void RunPairs<double>(const SlopeRecipe&, const BackwardArguments&);

}  // namespace lanewise::distance
