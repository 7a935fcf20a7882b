// The programs, on a machine whose GPU is the emulated device: emulated_programs NAME [options].
//
// Their sources as they are, in one translation unit, since what takes the time to compile is what
// they share: trainers in three types. Each in a namespace of its own, so all that they include stands
// above; a header that is missing here fails to compile inside one of them.
#include <algorithm>
#include <cmath>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "common/cross_validation.hpp"
#include "common/crops.hpp"
#include "common/encoder_choice.hpp"
#include "common/finetuning.hpp"
#include "common/program.hpp"
#include "common/recipe.hpp"
#include "common/reference_quirks.hpp"
#include "common/swav_options.hpp"
#include "common/training.hpp"
#include "mwalimu/data/rice_files.hpp"
#include "mwalimu/embedding/tsne.hpp"
#include "mwalimu/train/checkpoint_maps.hpp"
#include "mwalimu/train/embedding_map.hpp"
#include "mwalimu/train/encoder_probe.hpp"
#include "mwalimu/train/find_lr.hpp"
#include "mwalimu/train/finetune.hpp"
#include "mwalimu/train/map_source.hpp"
#include "mwalimu/train/pretrain.hpp"
#include "mwalimu/train/progress.hpp"

namespace make_rice_program {
#include "../../examples/make_rice.cpp"
}
namespace pretrain_program {
#include "../../examples/pretrain.cpp"
}
namespace finetune_program {
#include "../../examples/finetune.cpp"
}
namespace find_lr_program {
#include "../../examples/find_lr.cpp"
}
namespace tsne_program {
#include "../../examples/tsne.cpp"
}

int main(int argc, char** argv) {
  const std::map<std::string, int (*)(int, char**)> programs{
      {"make_rice", make_rice_program::main},
      {"pretrain", pretrain_program::main},
      {"finetune", finetune_program::main},
      {"find_lr", find_lr_program::main},
      {"tsne", tsne_program::main},
  };
  const auto found = programs.find(argc > 1 ? argv[1] : "");
  if (found == programs.end()) {
    std::cerr << "emulated_programs: want the name of a program first" << std::endl;
    return 2;
  }
  return found->second(argc - 1, argv + 1);
}
