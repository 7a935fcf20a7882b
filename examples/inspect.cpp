// inspect: what is in a file of tensors, an image or a data set.
#include <cmath>
#include <filesystem>

#include "common/program.hpp"
#include "mwalimu/data/image.hpp"
#include "mwalimu/io/any_tensor_file.hpp"
#include "mwalimu/report/dataset_summary.hpp"
#include "mwalimu/report/tensor_summary.hpp"
#include "mwalimu/report/terminal_image.hpp"
#include "mwalimu/train/progress.hpp"

namespace {

using namespace mwalimu;

struct Options {
  std::vector<std::string> paths;
  std::string picture = "auto", filter;
  int columns = 0, threads = 0;
};

void inspect_tensors(const std::string& path, const Options& o) {
  const io::AnyTensorFile file(path);
  std::int64_t elements = 0;
  std::uint64_t bytes = 0;
  std::size_t longest = 0;
  for (const io::TensorInfo& tensor : file.tensors()) {
    elements += tensor.numel();
    bytes += tensor.bytes.size();
    longest = std::max(longest, std::min<std::size_t>(tensor.name.size(), 48));
  }
  std::cout << path << ": " << file.tensors().size()
            << (file.tensors().size() == 1 ? " tensor, " : " tensors, ") << elements
            << " elements, " << bytes << " bytes\n";
  for (const auto& [key, value] : file.metadata()) {
    std::cout << "  " << io::detail::quoted_text(key) << ": " << io::detail::quoted_text(value)
              << "\n";
  }
  if (const io::TorchFile* torch = file.torch(); torch != nullptr && torch->groups().size() > 1) {
    for (const io::TensorGroup& group : torch->groups()) {
      std::cout << "  under '" << group.prefix << "': " << group.count << " tensors\n";
    }
  }
  std::vector<std::string> alarming;
  for (const io::TensorInfo& tensor : file.tensors()) {
    if (tensor.name.find(o.filter) == std::string::npos) continue;
    const report::TensorSummary summary = report::summarize(tensor);
    std::string name = io::detail::quoted_text(tensor.name);  // nothing that moves the cursor
    name = name.substr(1, name.size() - 2);
    name.resize(std::max(longest, name.size()), ' ');
    std::cout << name << "  " << to_string(summary) << "\n";
    if (summary.alarming()) alarming.push_back(tensor.name);
  }
  if (!alarming.empty()) {
    std::cout << io::counted_names(alarming, alarming.size() == 1 ? "tensor holds NaN or Inf!"
                                                                  : "tensors hold NaN or Inf!")
              << "\n";
  }
}

void inspect_image(const std::string& path, const Options& o) {
  const data::Image image = data::read_image(path);
  std::cout << path << ": " << image.height << " x " << image.width << " pixels (height x width)\n";
  constexpr std::array<const char*, 3> kChannels{"red  ", "green", "blue "};
  const std::size_t pixels = image.pixels.size() / data::Image::channels;
  for (std::size_t c = 0; c < 3; ++c) {
    std::vector<std::uint8_t> plane(pixels);
    for (std::size_t i = 0; i < pixels; ++i) plane[i] = image.pixels[i * 3 + c];
    const report::TensorSummary s =
        report::summarize(io::tensor_info<std::uint8_t>("", {image.height, image.width}, plane));
    std::cout << "  " << kChannels[c] << " x∈[" << s.min << ", " << s.max
              << "] μ=" << report::significant(s.mean) << " σ=" << report::significant(s.std) << " "
              << report::histogram_text(s.histogram) << "\n";
  }
  if (o.picture == "on" || (o.picture == "auto" && train::stdout_is_terminal())) {
    const int columns = o.columns > 0 ? o.columns : std::min(train::terminal_width(), 100);
    std::cout << report::terminal_image(image, columns, columns / 2 + 1);
  }
}

void inspect_dataset(const std::string& path) {
  train::Progress* shown = nullptr;
  std::unique_ptr<train::Progress> progress;
  const auto update = [&](index_t done, index_t total) {
    if (!train::stdout_is_terminal()) return;
    if (shown == nullptr) {
      progress = std::make_unique<train::Progress>("decoding", total,
                                                   train::ProgressOptions{.unit = "images"});
      shown = progress.get();
    }
    shown->update(done);
  };
  const report::DatasetSummary summary = report::summarize_dataset(path, update);
  if (shown != nullptr) shown->finish();
  std::cout << to_string(summary);
}

void run(const Options& o) {
  configure_threads(o.threads);
  for (const std::string& path : o.paths) {
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored)) {
      inspect_dataset(path);
    } else if (data::has_image_extension(path)) {
      inspect_image(path, o);
    } else {
      require<ValueError>(io::tensor_format(path).has_value() || !std::filesystem::exists(path),
                          path,
                          ": want a folder of images and labels, an image (.jpg, .png, .bmp) ",
                          "or tensors (.safetensors, .pth, .pt, .npz, .npy)");
      inspect_tensors(path, o);
    }
    std::cout << std::flush;
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  return programs::run_program(
      argc, argv,
      {.description = "Summarises files of tensors (a line a tensor: type, shape, range, mean, "
                      "deviation, a histogram, NaN and Inf), images and data sets.",
       .example = "inspect runs/pretrain/encoder.safetensors --filter convpath"},
      [&](CLI::App& app) {
        app.add_option("paths", o.paths, "files and folders")
            ->required()
            ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
            ->type_name("PATH");
        app.add_option("--filter", o.filter, "only tensors whose names hold this text");
        app.add_option("--picture", o.picture,
                       "draw images in 24-bit colours; auto: where the output is a terminal")
            ->check(CLI::IsMember({"auto", "on", "off"}));
        app.add_option("--columns", o.columns, "width of a drawn image; 0: that of the terminal")
            ->check(CLI::Range(0, 1000));
        app.add_option("--threads", o.threads, "host threads; 0: all cores")
            ->check(CLI::Range(0, 4095))
            ->type_name("N");
      },
      [&](const CLI::App&) { run(o); });
}
