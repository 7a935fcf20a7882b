// programs/run_program: starting the built programs as a user would.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "mwalimu/io/file.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::test {

struct Outcome {
  int code = -1;  ///< exit code; 128 + signal where one ended it
  std::string out, err;
  /// Lines on stderr.
  int error_lines() const { return static_cast<int>(std::count(err.begin(), err.end(), '\n')); }
};

inline std::string program(const std::string& name) {
  return std::string(MWALIMU_BINARY_DIR) + "/bin/" + name;
}

/// Runs a program with its output in files of `scratch`. With kill_when set, the process is killed
/// (SIGKILL) as soon as it returns true. With file_limit > 0, no file may grow beyond so many bytes.
inline Outcome run(const std::filesystem::path& scratch, std::vector<std::string> arguments,
                   const std::function<bool()>& kill_when = {}, rlim_t file_limit = 0) {
  const auto out = scratch / "stdout.txt", err = scratch / "stderr.txt";
  arguments.front() = program(arguments.front());
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(0);
    ::open("/dev/null", O_RDONLY);
    ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), 1);
    ::dup2(::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), 2);
    if (file_limit > 0) {
      const rlimit limit{file_limit, file_limit};
      ::setrlimit(RLIMIT_FSIZE, &limit);
      ::signal(SIGXFSZ, SIG_IGN);  // write() fails with EFBIG instead
    }
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  int status = 0;
  if (kill_when) {
    for (;;) {
      if (::waitpid(child, &status, WNOHANG) == child) break;
      if (kill_when()) {
        ::kill(child, SIGKILL);
        ::waitpid(child, &status, 0);
        break;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  } else {
    ::waitpid(child, &status, 0);
  }
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), io::read_file(out),
          io::read_file(err)};
}

}  // namespace mwalimu::test
