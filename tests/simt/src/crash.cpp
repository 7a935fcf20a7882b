// What a program says when it dies inside a kernel.
#include <signal.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "report.hpp"

namespace mwalimu::simt::detail {
namespace {

void write_to_stderr(const std::string& text) {
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text.data(), text.size());
}

void say_where() {
  if (current_worker == nullptr || current_worker->thread == nullptr) return;
  write_to_stderr("simt: in " + where() + "\n");
}

void on_signal(int number, siginfo_t* info, void*) {
  say_where();
  if (current_worker != nullptr && (number == SIGSEGV || number == SIGBUS)) {
    const char* at = static_cast<const char*>(info->si_addr);
    const char* low = current_worker->fiber->low;
    constexpr std::ptrdiff_t kPage = 4096;
    if (low != nullptr && at >= low - kPage && at < low + kPage) {
      write_to_stderr("simt: the thread's stack overflowed; raise Options::stack_bytes\n");
    }
  }
  signal(number, SIG_DFL);
  raise(number);
}

}  // namespace

void install_crash_reports() {
  static const bool installed = [] {
    if (__sanitizer_set_death_callback != nullptr) {
      __sanitizer_set_death_callback(say_where);
      return true;
    }
    for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) {
      struct sigaction old {};
      sigaction(number, nullptr, &old);
      if (old.sa_handler != SIG_DFL) continue;  // somebody else's
      struct sigaction ours {};
      ours.sa_sigaction = on_signal;
      ours.sa_flags = SA_ONSTACK | SA_SIGINFO | SA_NODEFER;
      sigaction(number, &ours, nullptr);
    }
    return true;
  }();
  (void)installed;
}

}  // namespace mwalimu::simt::detail
