// convert: weights from one file format, naming or element type to another.
#include <algorithm>
#include <filesystem>
#include <functional>
#include <list>

#include "common/program.hpp"
#include "mwalimu/io/any_tensor_file.hpp"
#include "mwalimu/io/name_map.hpp"
#include "mwalimu/io/tensor_file.hpp"
#include "mwalimu/io/tensor_fit.hpp"
#include "mwalimu/io/tensor_values.hpp"
#include "mwalimu/models/architecture.hpp"
#include "mwalimu/models/input_channels.hpp"
#include "mwalimu/nn/state_dict.hpp"

namespace {

using namespace mwalimu;
using Tensors = std::vector<io::TensorInfo>;

struct Options {
  std::string from, to, map = "none", map_to = "none", prefix = "auto", dtype = "keep", arch;
  std::string strict = "on", pool = "auto";
  index_t width = 64, channels = 3;
  bool overwrite = false;
};

std::string list_groups(const io::TorchFile& file) {
  std::string text;
  for (const io::TensorGroup& group : file.groups()) {
    text += text.empty() ? "'" : ", '";
    text += group.prefix + "' (" + std::to_string(group.count) + " tensors)";
  }
  return text;
}

/// The tensors under --prefix, without it.
Tensors select(const io::AnyTensorFile& file, const Options& o) {
  std::string prefix = o.prefix == "auto" ? "" : o.prefix;
  if (const io::TorchFile* torch = file.torch(); torch != nullptr && o.prefix == "auto") {
    const auto found = torch->weights_prefix();
    require<ValueError>(found.has_value(), o.from, ": holds ", list_groups(*torch),
                        "; choose one by --prefix, or all by --prefix \"\"");
    prefix = *found;
    if (torch->groups().size() > 1) {
      std::cout << "holds " << list_groups(*torch) << "; taking '" << prefix << "'" << std::endl;
    }
  }
  Tensors chosen;
  for (const io::TensorInfo& tensor : file.tensors()) {
    if (!tensor.name.starts_with(prefix) || tensor.name.size() == prefix.size()) continue;
    chosen.push_back(tensor);
    chosen.back().name.erase(0, prefix.size());
  }
  require<ValueError>(!chosen.empty(), o.from, ": no tensor", prefix.empty() ? "" : " under '",
                      prefix, prefix.empty() ? "" : "'", "; inspect lists what is there");
  return chosen;
}

/// A complaint is an error, or under --strict off a line of output.
void complain(const Options& o, const std::string& text) {
  require<ValueError>(o.strict == "off", o.from, ": ", text, "; --strict off goes on without");
  std::cout << text << std::endl;
}

Tensors rename(const Tensors& tensors, const Options& o) {
  const auto report = [&](io::RenamedTensors renamed, const std::string& map) {
    if (!renamed.left_out.empty()) {
      std::cout << io::counted_names(renamed.left_out, "left out by the map " + map, 1000)
                << std::endl;
    }
    if (!renamed.unexpected.empty()) {
      complain(o, io::counted_names(renamed.unexpected, "that the map " + map + " does not know"));
    }
    return renamed.tensors;
  };
  const bool xresnet = o.arch.starts_with("xresnet");
  const Tensors ours =
      report(io::to_our_names(tensors, io::name_map(o.map),
                              xresnet ? io::Naming::fastai : io::Naming::torchvision),
             o.map);
  return report(io::from_our_names(ours, io::name_map(o.map_to)), o.map_to);
}

models::Architecture architecture(const Options& o) {
  // facebook's SwAV pools by the mean alone.
  const std::string pool = o.pool != "auto" ? o.pool : o.map == "swav" ? "avg" : "concat";
  return {.arch = o.arch, .width = o.width, .channels = o.channels,
          .pooling = models::pooling_named(pool)};
}

/// Makes the tensors those of the encoder of --arch, under encoder. where the file is of a SwAV
/// network: the first convolution for --channels; and with --strict off the encoder's own random
/// values for what is missing, nothing of what is unexpected. `kept` holds new elements.
void fit_architecture(Tensors& tensors, const Options& o, nn::StateDict& kept) {
  models::Encoder encoder = architecture(o).encoder();
  encoder.initialize(0);
  const auto in_encoder = [](const io::TensorInfo& t) { return t.name.starts_with("encoder."); };
  const bool swav = std::any_of(tensors.begin(), tensors.end(), in_encoder);
  const std::string prefix = swav ? "encoder." : "";
  std::string first;  // the name of the convolution that sees the images
  nn::for_each_parameter(encoder, [&](const std::string& path, const nn::Parameter& p) {
    if (&p == &encoder.input_weight()) first = prefix + path;
  });
  for (io::TensorInfo& tensor : tensors) {
    if (tensor.name != first || tensor.shape.size() != 4 || tensor.shape[1] == o.channels) continue;
    require<ValueError>(tensor.dtype == io::Dtype::f32 && tensor.shape[1] >= 1, o.from, ": ", first,
                        ": --channels wants float32; convert with --dtype float32 first");
    std::cout << first << ": from " << tensor.shape[1] << " to " << o.channels << " channels"
              << std::endl;
    kept.add(first, models::with_input_channels(io::to_tensor<float>(tensor), o.channels));
    tensor = kept.tensors.back();
  }
  Tensors of_encoder = tensors;
  if (swav) std::erase_if(of_encoder, std::not_fn(in_encoder));
  const auto want = nn::state_dict(encoder, prefix);
  const io::TensorFit fit = io::fit_tensors(of_encoder, want.tensors);
  if (fit.perfect()) return;
  complain(o, "does not fit " + o.arch + ": " + fit.text());
  Tensors fitting;
  for (const io::TensorInfo& tensor : want.tensors) {
    const auto found = std::find_if(of_encoder.begin(), of_encoder.end(), [&](const auto& have) {
      return have.name == tensor.name && have.shape == tensor.shape;
    });
    fitting.push_back(found != of_encoder.end() ? *found : tensor);
  }
  for (const io::TensorInfo& tensor : tensors) {
    if (swav && !in_encoder(tensor)) fitting.push_back(tensor);
  }
  kept.storage.insert(kept.storage.end(), want.storage.begin(), want.storage.end());
  tensors = std::move(fitting);
  std::cout << "what is missing has random values" << std::endl;
}

/// Converts real tensors to --dtype; `kept` holds their new elements.
void convert_dtype(Tensors& tensors, const Options& o, std::list<io::ConvertedElements>& kept) {
  const std::map<std::string, io::Dtype> types{{"float32", io::Dtype::f32},
                                               {"float64", io::Dtype::f64},
                                               {"float16", io::Dtype::f16},
                                               {"bfloat16", io::Dtype::bf16}};
  if (o.dtype == "keep") return;
  const io::Dtype to = types.at(o.dtype);
  for (io::TensorInfo& tensor : tensors) {
    if (!io::is_real(tensor.dtype) || tensor.dtype == to) continue;
    kept.push_back(io::convert_elements(tensor, to));
    tensor.bytes = kept.back().bytes;
    tensor.dtype = to;
    if (kept.back().overflowed > 0) {
      complain(o, tensor.name + ": " + std::to_string(kept.back().overflowed) +
                      " values are too large for " + o.dtype + " and became infinite");
    }
  }
}

void run(const Options& o) {
  io::require_tensor_format(o.from);
  io::require_tensor_format(o.to);
  std::error_code ignored;
  require<ValueError>(o.overwrite || !std::filesystem::exists(o.to, ignored), o.to,
                      ": exists already; choose another name, or give --overwrite");
  if (!o.arch.empty()) (void)models::encoder_options(o.arch);  // there is one of that name
  const io::AnyTensorFile file(o.from);
  Tensors tensors = rename(select(file, o), o);
  require<ValueError>(!tensors.empty(), o.from, ": nothing is left to write");
  io::Metadata metadata = file.metadata();
  nn::StateDict kept_tensors;
  if (!o.arch.empty()) {
    fit_architecture(tensors, o, kept_tensors);
    for (const auto& [key, value] : architecture(o).metadata()) metadata[key] = value;
  }
  std::list<io::ConvertedElements> kept;
  convert_dtype(tensors, o, kept);
  io::write_tensors(o.to, tensors, metadata);
  std::uint64_t bytes = 0;
  for (const io::TensorInfo& tensor : tensors) bytes += tensor.bytes.size();
  std::cout << "wrote " << tensors.size() << (tensors.size() == 1 ? " tensor, " : " tensors, ")
            << bytes << " bytes, to " << o.to << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  return programs::run_program(
      argc, argv,
      {.description =
           "Converts weights between PyTorch (.pth, .pt), safetensors and NumPy (.npz, .npy), by "
           "the files' names. Nothing in a .pth is executed: tensors are read, the rest is "
           "refused.",
       .example = "convert resnet50.pth encoder.safetensors --map torchvision --arch resnet50"},
      [&](CLI::App& app) {
        app.add_option("from", o.from, "file to read")->required()->type_name("FROM");
        app.add_option("to", o.to, "file to write")->required()->type_name("TO");
        const CLI::IsMember maps({"none", "fastai", "timm", "torchvision", "swav"});
        app.add_option("--map", o.map, "whose names FROM has; they become ours")->check(maps);
        app.add_option("--map-to", o.map_to, "whose names TO shall have, from ours")->check(maps);
        app.add_option("--prefix", o.prefix,
                       "take the tensors under this prefix, without it; auto: the weights in a "
                       "checkpoint (model., state_dict.), else all");
        app.add_option("--dtype", o.dtype, "element type of real tensors")
            ->check(CLI::IsMember({"keep", "float32", "float64", "float16", "bfloat16"}));
        app.add_option("--arch", o.arch,
                       "check names and shapes against this encoder, and note it in safetensors: " +
                           models::architecture_names());
        app.add_option("--width", o.width, "with --arch: channels of its first stage")
            ->check(CLI::Range(2, 1 << 12));
        app.add_option("--channels", o.channels,
                       "with --arch: channels of its images; a first convolution for other ones is "
                       "adapted")
            ->check(CLI::Range(1, 64));
        app.add_option("--pool", o.pool,
                       "with --arch: its pooling; auto: avg for --map swav, else concat")
            ->check(CLI::IsMember({"auto", "concat", "avg", "max"}));
        app.add_option(
               "--strict", o.strict,
               "off: names the map does not know, tensors that --arch lacks or wants and numbers "
               "that overflow are told, not errors; with --arch what fits is taken, and what is "
               "missing gets random values")
            ->check(CLI::IsMember({"on", "off"}));
        app.add_flag("--overwrite", o.overwrite, "replace TO")->configurable(false);
      },
      [&](const CLI::App&) { run(o); });
}
