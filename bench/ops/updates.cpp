// What runs around a step: crops in front of it; casts, the gradients' norm and the optimisers'
// rules over the parameters of xresnet34 behind it.
#include <memory>

#include "case.hpp"
#include "mwalimu/data/augment.hpp"
#include "mwalimu/data/mixup.hpp"
#include "mwalimu/data/multi_crop.hpp"
#include "mwalimu/gpu/cast_add.hpp"
#include "mwalimu/models/xresnet.hpp"
#include "mwalimu/optim/gradient_control.hpp"
#include "mwalimu/optim/optimizer.hpp"
#include "mwalimu/optim/parameter_arena.hpp"

namespace mwalimu {
namespace {

using bench::Case, bench::case_of, bench::Cost, bench::noise, bench::register_case;
using bench::short_name, bench::tolerance, bench::Work, bench::work, bench::work_on;

constexpr index_t kParameters = 21303904;  // of xresnet34

struct Model {
  models::XResNet network;
  optim::ParameterArena arena;
  optim::Optimizer optimizer;
  optim::GradientControl control;

  Model(const models::XResNetOptions& options, const optim::OptimizerOptions& rule, double lr,
        Device device)
      : network(options),
        arena(network, device, device.is_cpu() ? ElementType::float32 : ElementType::bfloat16),
        optimizer(rule, arena),
        control(device) {
    arena.value_buffer().copy_from(noise<float>({arena.size()}, device, 1, 0.1f));
    arena.gradient_buffer().copy_from(noise<float>({arena.size()}, device, 2));
    control.measure(arena.gradient_buffer());
    optimizer.prepare(arena, {.lr = lr});
  }
};

Work step(Device device, const models::XResNetOptions& options,
          const optim::OptimizerOptions& rule, double lr) {
  auto model = std::make_shared<Model>(options, rule, lr, device);
  return work([model] { model->optimizer.run(model->arena, &model->control); },
              model->arena.value_buffer());
}

Work norm(Device device, index_t n) {
  auto control = std::make_shared<optim::GradientControl>(device);
  auto gradients = noise<float>({n}, device, 1);
  return work([=] { control->measure(gradients); }, control->state());
}

template <Real From, Real To>
Work cast_pass(Device device, index_t n) {
  auto from = noise<From>({n}, device, 1);
  auto to = Tensor<To>::empty({n}, device);
  return work([=]() mutable { to.copy_from(from); }, to);
}

template <Real T>
Work cast_add_pass(Device device, index_t n) {
  auto from = noise<T>({n}, device, 1);
  auto to = noise<float>({n}, device, 2);
  return work_on(
      device,
      [=](auto place) mutable {
        if constexpr (std::is_same_v<decltype(place), Cpu>) {
          accumulate(place, from.template to<float>(), to);
        } else {
          cast_add<T>(place, from.template view<1>(), true, to.template view<1>());
        }
      },
      to);
}

Tensor<std::uint8_t> images(index_t count, index_t side, Device device) {
  auto tile = Tensor<std::uint8_t>::empty({side * side * 3});
  RandomStream random(3, Purpose::test);
  for (std::uint8_t& value : tile.span()) value = static_cast<std::uint8_t>(random.below(256));
  return bench::repeated(tile, {count, side, side, 3}, device);
}

Tensor<index_t> counted(index_t count, Device device) {
  auto rows = Tensor<index_t>::empty({count});
  for (index_t i = 0; i < count; ++i) rows.data()[i] = i;
  return rows.to(device);
}

template <Real T>
Work multi_crop_pass(Device device, const std::string& crops, index_t B, index_t side) {
  const auto options = data::MultiCropOptions::study(crops);
  const auto store = images(2 * B, side, device);
  const auto pairs = counted(2 * B, device).reshape({B, 2});
  auto groups = std::make_shared<std::vector<Tensor<T>>>();
  const auto make = [=] { data::multi_crop<T>(options, 1, 2.0, store, pairs, *groups); };
  make();  // so that the views lie outside of the graph
  return work(make, groups->at(0), groups->at(1));
}

template <Real T>
Work augment_pass(Device device, index_t B, int side) {
  data::AugmentOptions options;
  options.size = side;
  const auto store = images(B, side, device);
  const auto rows = counted(B, device);
  auto inputs = std::make_shared<Tensor<T>>();
  const auto make = [=] { data::augment<T>(options, {.seed = 1, .step = 2.0}, store, rows, *inputs); };
  make();
  return work(make, *inputs);
}

template <Real T>
Work mixup_pass(Device device, index_t B, index_t side) {
  auto from = noise<T>({B, side, side, 3}, device, 1);
  auto mixed = Tensor<T>::empty(from.shape(), device);
  auto labels = counted(B, device), partners = labels.clone(), partner_labels = labels.clone();
  auto lambda = Tensor<float>::empty({B}, device);
  return work_on(
      device,
      [=](auto place) mutable {
        data::draw_mixup(place, 0.4, 1, 2.0, 0, labels.template view<1>(), lambda.template view<1>(),
                         partners.template view<1>(), partner_labels.template view<1>());
        data::mix_images<T>(place, from.template view<4>(), lambda.template view<1>(),
                            partners.template view<1>(), mixed.template view<4>());
      },
      mixed, lambda, partner_labels);
}

// Boxes cover the middle of their range of areas on average.
double crop_bytes(const std::string& crops, index_t B, index_t side, double element) {
  double bytes = 0;
  for (const auto& group : data::MultiCropOptions::study(crops).groups) {
    const double share = (double{group.scale.low} + double{group.scale.high}) / 2;
    bytes += static_cast<double>(group.count * B) * 3 *
             (share * static_cast<double>(side * side) + element * group.size * group.size);
  }
  return bytes;
}

// A row of a CUDA device alone: what training runs on the host is in optimizer_bench and data_bench.
template <Real T>
void register_device(std::string op, std::string type, std::string shape, double bytes,
                     double allowed, std::function<Work(Device)> make,
                     std::function<Work(Device)> small) {
  register_case<T>({.op = std::move(op), .type = std::move(type), .shape = std::move(shape),
                    .cost = {bytes, 0}, .tolerance = allowed, .make = std::move(make),
                    .small = std::move(small), .reference = nullptr});
}

template <Real T>
void register_crops() {
  const std::string type = short_name<T>();
  // Pixels: two libraries' exponentials and powers.
  const double near = std::max(tolerance<T>(), 1e-3);
  for (const index_t B : {index_t{32}, index_t{256}}) {
    const std::string crops = "2x128,6x96";
    register_device<T>(
        "multi_crop/forward", type, crops + "/B:" + std::to_string(B),
        crop_bytes(crops, B, 128, sizeof(T)), near,
        [=](Device d) { return multi_crop_pass<T>(d, crops, B, 128); },
        [](Device d) { return multi_crop_pass<T>(d, "2x16,1x8", 2, 20); });
  }
  register_device<T>(
      "augment/forward", type, "B:128/px:128", 128.0 * 128 * 128 * 3 * (1 + sizeof(T)), near,
      [](Device d) { return augment_pass<T>(d, 128, 128); },
      [](Device d) { return augment_pass<T>(d, 3, 16); });
  register_device<T>(
      "mixup/forward", type, "B:128/px:128", 128.0 * 128 * 128 * 3 * 3 * sizeof(T), tolerance<T>(),
      [](Device d) { return mixup_pass<T>(d, 128, 128); },
      [](Device d) { return mixup_pass<T>(d, 5, 7); });
}

const bool registered = [] {
  register_crops<bfloat16>();
  register_crops<float>();

  constexpr index_t n = index_t{1} << 26;
  const std::string flat = "N:" + std::to_string(n);
  const auto add_cast = [&]<Real T>(T, const char* op, double bytes, auto make) {
    register_case<T>(case_of<T>(
        op, flat, {bytes * n, 1.0 * n}, tolerance<bfloat16>(),
        [=](auto, Device d) { return make(false, d, n); },
        [=](auto type, Device d) { return make(std::is_same_v<decltype(type), double>, d, 1003); }));
  };
  // The reference: the same numbers, not rounded.
  add_cast(bfloat16{}, "cast/from_f32", 6, [](bool exact, Device d, index_t count) {
    return exact ? cast_pass<float, double>(d, count) : cast_pass<float, bfloat16>(d, count);
  });
  add_cast(float{}, "cast/from_bf16", 6, [](bool exact, Device d, index_t count) {
    return exact ? cast_pass<bfloat16, double>(d, count) : cast_pass<bfloat16, float>(d, count);
  });
  add_cast(bfloat16{}, "cast_add/backward", 10, [](bool exact, Device d, index_t count) {
    return exact ? cast_add_pass<float>(d, count) : cast_add_pass<bfloat16>(d, count);
  });

  const std::string parameters = "N:" + std::to_string(kParameters);
  register_device<float>(
      "gradients/norm", "f32", parameters, 4.0 * kParameters, 1e-9,
      [](Device d) { return norm(d, kParameters); }, [](Device d) { return norm(d, 20001); });
  // Bytes a parameter by the head of kernels/optimizer.cuh, and two for the copy in bfloat16.
  const auto add_rule = [&](const std::string& name, const optim::OptimizerOptions& rule,
                            double bytes) {
    register_device<float>(
        name + "/step", "f32", parameters + "/copy:bf16", (bytes + 2) * kParameters,
        tolerance<float>(),
        [=](Device d) { return step(d, models::xresnet_options("xresnet34"), rule, 1e-4); },
        // A rate at which a step that is not taken is far off.
        [=](Device d) { return step(d, {.blocks = {1, 1, 1, 1}, .width = 8}, rule, 0.1); });
  };
  add_rule("sgd", optim::SgdOptions{.weight_decay = 1e-4}, 20);
  add_rule("lars", optim::LarsOptions{}, 28);
  add_rule("larc", optim::LarcOptions{}, 28);
  add_rule("adamw", optim::AdamOptions::pytorch(), 28);
  add_rule("lamb", optim::LambOptions{.weight_decay = 1e-6}, 40);
  add_rule("radam", optim::RadamOptions{}, 28);
  add_rule("ranger", optim::RangerOptions{}, 28 + 8.0 / 6);
  return true;
}();

}  // namespace
}  // namespace mwalimu
