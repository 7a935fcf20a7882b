// gpu/cudnn_device: cuDNN on one device of this process: its handle, its plans, and a convolution run
// with them.
#pragma once

#include <algorithm>
#include <array>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "mwalimu/core/place.hpp"
#include "mwalimu/gpu/conv_plans.hpp"
#include "mwalimu/gpu/scratch.hpp"
#include "mwalimu/gpu/select_device.hpp"

namespace mwalimu::gpu::cudnn {

class Device {
 public:
  /// Made at first use; never destroyed, since at exit the driver may be gone.
  static Device& of(int index) {
    static std::mutex mutex;
    static auto* devices = new std::array<std::unique_ptr<Device>, kMaxDevices>;
    const std::lock_guard lock(mutex);
    auto& device = (*devices)[static_cast<std::size_t>(index)];
    if (device == nullptr) device.reset(new Device(index));
    return *device;
  }

  /// Queues a convolution on the place's stream; the problem's pass says which operand is written.
  /// @throws CudnnError  no engine can run it.
  void convolve(Gpu on, const ConvProblem& problem, const void* x, const void* weight,
                const void* out) {
    const Operands operands{x, weight, out};
    const MathOptions options = math_options();
    const bool capturing = Driver::capturing(on.stream);
    select_device(on.device);  // plans load their kernels on the thread's device
    Timer timer;
    if (options.plans == PlanChoice::measured && !capturing) {
      timer = [&](const ConvPlan& plan) { return time(on, plan, operands); };
    }
    for (;;) {
      const auto plan = plans_.get(problem, options.plans, timer);
      try {
        return run(on, *plan, operands);
      } catch (const NotSupported& error) {
        // A graph that failed to capture one engine is beyond repair; outside of graphs another
        // engine may do. With none left, get() throws.
        if (capturing) throw;
        std::cerr << "mwalimu: " << plan->choice() << " does not run: " << error.what()
                  << "; another engine takes its place\n";
        plans_.reject(*plan);
      }
    }
  }

 private:
  struct Operands {
    const void *x, *weight, *out;
  };

  explicit Device(int index)
      : handle_(make_handle(index)),
        plans_(DeviceProperties(handle_),
               mwalimu::detail::concatenate(Driver::info(index).name, ", cuDNN ",
                                            cudnnGetVersion()),
               &shared_file()) {}

  static cudnnHandle_t make_handle(int index) {
    select_device(index);
    cudnnHandle_t handle = nullptr;
    check("cudnnCreate", cudnnCreate(&handle));
    return handle;
  }
  // Written at exit: the only thing here that is destroyed.
  static PlanFile& shared_file() {
    static PlanFile file(PlanFile::default_path());
    return file;
  }

  void run(Gpu on, const ConvPlan& plan, const Operands& operands) {
    const std::shared_ptr<std::byte> workspace =
        plan.workspace_bytes() > 0
            ? scratch<std::byte>(on, static_cast<index_t>(plan.workspace_bytes()))
            : nullptr;
    const std::lock_guard lock(handle_mutex_);  // the stream is the handle's own state
    check("cudnnSetStream", cudnnSetStream(handle_, on.stream));
    plan.execute(handle_, operands.x, operands.weight, operands.out, workspace.get());
  }

  double time(Gpu on, const ConvPlan& plan, const Operands& operands) {
    constexpr int kRuns = 7;
    run(on, plan, operands);  // loads the kernel
    std::vector<Event> marks;
    for (int i = 0; i <= kRuns; ++i) marks.emplace_back(on.device, Event::Kind::timed);
    marks[0].record(on.stream);
    for (std::size_t i = 1; i < marks.size(); ++i) {
      run(on, plan, operands);
      marks[i].record(on.stream);
    }
    marks.back().synchronize();
    std::vector<double> times;
    for (std::size_t i = 1; i < marks.size(); ++i) {
      times.push_back(marks[i].milliseconds_since(marks[i - 1]));
    }
    std::nth_element(times.begin(), times.begin() + kRuns / 2, times.end());
    return times[kRuns / 2];
  }

  cudnnHandle_t handle_;
  std::mutex handle_mutex_;
  ConvPlans plans_;
};

}  // namespace mwalimu::gpu::cudnn

namespace mwalimu::gpu {

template <class X>
void BasicConvolution<X>::run(Gpu on, const ConvProblem& problem, const void* x, const void* weight,
                              const void* out) {
  cudnn::in_context(mwalimu::detail::concatenate("conv2d on cuda:", on.device), [&] {
    cudnn::Device::of(on.device).convolve(on, problem, x, weight, out);
  });
}

}  // namespace mwalimu::gpu
