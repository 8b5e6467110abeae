/// @file
/// All of lanewise's C++ API.
#ifndef LANEWISE_LANEWISE_H_
#define LANEWISE_LANEWISE_H_

#include "lanewise/conv.h"           // IWYU pragma: export
#include "lanewise/conv_backward.h"  // IWYU pragma: export
#include "lanewise/cross_entropy.h"  // IWYU pragma: export
#include "lanewise/distance.h"       // IWYU pragma: export
#include "lanewise/error.h"          // IWYU pragma: export
#include "lanewise/memory.h"         // IWYU pragma: export
#include "lanewise/neighbors.h"      // IWYU pragma: export
#include "lanewise/pool.h"           // IWYU pragma: export
#include "lanewise/roofline.h"       // IWYU pragma: export
#include "lanewise/runtime.h"        // IWYU pragma: export
#include "lanewise/softmax.h"        // IWYU pragma: export
#include "lanewise/tensor.h"         // IWYU pragma: export
#include "lanewise/window.h"         // IWYU pragma: export

#endif  // LANEWISE_LANEWISE_H_
