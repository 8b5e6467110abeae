// How the direct gradient by filters is cut, as follows from its shape: the terms of a sum in
// chains and slices, which decide its bits; and its tiles in boxes and blocks, which follow caches
// and threads and decide none.
#ifndef LANEWISE_OPS_CONV_BACKWARD_FILTER_DIRECT_PLAN_H_
#define LANEWISE_OPS_CONV_BACKWARD_FILTER_DIRECT_PLAN_H_

#include <cstdint>
#include <utility>

#include "ops/conv/problem.h"
#include "ops/conv_backward/gradients.h"
#include "ops/strided.h"

namespace lanewise {

// Outputs of all images of a bank in the order in which they are summed. A wide image is cut into
// `pieces` of its columns; a run is a line of a piece, numbered (image, piece, line).
struct FilterTerms {
  int64_t images, lines, runs;
  Split pieces;
  int64_t chain;   // runs of one chain; 1 where there are several pieces
  int64_t chains;  // one without terms where there are no images
  Split slices;    // of chains

  // The bytes are those of a tile's lanes, and of all sums.
  FilterTerms(const ConvShape& shape, int64_t images_, int64_t lane_bytes, int64_t sums_bytes);
  int64_t width(int64_t piece) const { return pieces.end(piece) - pieces.begin(piece); }
};

// Where the inputs of n neighbouring outputs under some taps stand in a strip, along one axis: that
// of output o under tap t at o·step + t·shift. They are packed in runs of `count` inputs that are
// `unit` apart, for each tap one run where that is less than all that the taps span.
struct StripPlaces {
  int64_t step, shift, runs, count, unit, run_unit;

  StripPlaces(const WindowAxis& axis, int64_t taps, int64_t n, bool side_by_side);
  int64_t length() const { return runs * count; }

 private:
  StripPlaces(int64_t step_, int64_t shift_, int64_t runs_, int64_t count_, int64_t unit_,
              int64_t run)
      : step(step_), shift(shift_), runs(runs_), count(count_), unit(unit_), run_unit(run) {}
};

// Whether taps of a filter row may be joined: channels are few, and inputs neighbours.
bool TapsJoin(const ConvShape& shape);

// How channels and taps fill register tiles. A unit is the channels that are packed side by side.
// Taps of a filter row whose inputs are neighbours are joined where channels are few: a tile is
// then some of the S·C pairs (s, c). Where a group is then one unit of x and one of dy, the units
// of all groups are packed at once, in the order of memory.
struct FilterTiling {
  bool swapped;            // lanes are channels of x, rows those of dy
  bool joined;             // there is then one unit of x, of all channels
  int64_t x_tile, y_tile;  // channels of a tile
  bool by_group;           // units of x and dy are whole groups, and multiplied as such
  int64_t x_unit, y_unit;
  int64_t x_units, y_units;  // of a group; with by_group x_units are the groups
  int64_t taps;  // tiles of x per filter row and unit: its taps, or pieces of the joined ones

  FilterTiling(const ConvShape& shape, int64_t mr, int64_t nr);
};

// Some units of x and of dy, filter rows, and tiles of each row.
struct TileBox {
  int64_t x, x_end, y, y_end, r, r_end, t, t_end;

  int64_t rows() const { return r_end - r; }
  int64_t taps() const { return t_end - t; }
  int64_t tiles() const { return (x_end - x) * (y_end - y) * rows() * taps(); }
  // The number of a tile among those of the box: [y][x][r][t].
  int64_t Index(int64_t yi, int64_t xi, int64_t ri, int64_t ti) const {
    return (((yi - y) * (x_end - x) + xi - x) * rows() + ri - r) * taps() + ti - t;
  }
};

// The tiles of one set's filters cut into boxes: into as many as keep the sums of each in a
// quarter of L2, and at least `tasks`.
struct TileBoxes {
  Split x, y, r, t;

  TileBoxes(const FilterTiling& tiling, int64_t rows, int64_t tile_bytes, int64_t tasks);
  int64_t count() const { return x.count * y.count * r.count * t.count; }
  int64_t longest() const { return x.longest() * y.longest() * r.longest() * t.longest(); }
  TileBox operator()(int64_t i) const;
};

// How an operand is read: from a term to the next, and from a unit of channels to the next.
struct TermSteps {
  int64_t term, unit;
};

// A run of terms: its image, outputs [j, j + width), and line.
struct TermRun {
  int64_t image, j, width, line;
};

struct FilterDirectPlan {
  // For one element type's kernels.
  template <class T>
  explicit FilterDirectPlan(const FilterGradient<T>& g);

  TermRun At(int64_t run) const {
    const int64_t piece = run / terms.lines;
    return {piece / terms.pieces.count, terms.pieces.begin(piece % terms.pieces.count),
            terms.width(piece % terms.pieces.count), run % terms.lines};
  }
  // The units of dy that a box needs, [first, second), and the most of them.
  std::pair<int64_t, int64_t> YUnits(const TileBox& box) const {
    return tiling.by_group ? std::pair(box.x, box.x_end) : std::pair(box.y, box.y_end);
  }
  int64_t most_y_units() const { return tiling.by_group ? boxes.x.longest() : boxes.y.longest(); }
  // Runs, and so pointers to lines, of a block.
  int64_t block_runs() const { return block_chains * terms.chain; }

  const ConvShape shape;
  const int64_t mr, nr, tile;  // tile: elements of one
  const FilterTiling tiling;
  // Groups that are packed and cut into boxes together are a set: all of them, or each on its own.
  const int64_t sets, set_c, set_k;
  const TileBox whole;  // all tiles of a set's filters
  const FilterTerms terms;
  const double ns;
  const TileBoxes boxes;
  const int64_t longest;      // of the widths of pieces
  const int64_t taps;         // the most of a filter row that a box has
  const StripPlaces columns;  // of a strip
  int64_t block_chains = 1;   // packed at a time
  TermSteps x, dy;
  bool one_segment;        // runs follow each other without a gap
  bool one_value = false;  // which x holds everywhere, as for the gradient of a bias
  bool in_place = false;   // dy is read where it is

 private:
  int64_t Lines(int64_t rows, int64_t runs) const;
  int64_t StripSize(int64_t chains) const;
  int64_t PanelSize(int64_t chains) const { return chains * terms.chain * longest * tiling.y_unit; }
  int64_t BlockElements(int64_t chains) const {
    return boxes.x.longest() * StripSize(chains) + most_y_units() * PanelSize(chains);
  }
  template <class T>
  void ReadInPlace(const FilterGradient<T>& g);
};

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_BACKWARD_FILTER_DIRECT_PLAN_H_
