#include "symbols.hpp"

#include <cxxabi.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <sstream>

#include "fiber.hpp"

namespace mwalimu::simt::detail {
namespace {

constexpr std::string_view kSharedTag = "B11simt_shared";
constexpr std::string_view kKernelTag = "B11simt_kernel";

struct Function {
  std::size_t address, bytes;
  std::string_view mangled;
};

struct SymbolTable {
  std::vector<SharedVariable> shared;
  std::vector<Function> functions;  // by address

  SymbolTable() {
    read_file();
    std::sort(shared.begin(), shared.end(),
              [](const auto& a, const auto& b) { return a.value < b.value; });
    std::sort(functions.begin(), functions.end(),
              [](const auto& a, const auto& b) { return a.address < b.address; });
    if (__asan_address_is_poisoned == nullptr) return;
    for (SharedVariable& v : shared) {  // clang counts the red zone as part of the variable
      while (!v.thread_local_ && v.bytes > 0 &&
             __asan_address_is_poisoned(reinterpret_cast<char*>(v.value + v.bytes - 1)) != 0) {
        --v.bytes;
      }
    }
  }

  const Function* find(const void* address) const {
    const auto at = reinterpret_cast<std::size_t>(address);
    auto after = std::upper_bound(functions.begin(), functions.end(), at,
                                  [](std::size_t a, const Function& f) { return a < f.address; });
    if (after == functions.begin()) return nullptr;
    const Function& f = *std::prev(after);
    return at < f.address + f.bytes ? &f : nullptr;
  }

 private:
  // The file stays mapped: names point into it.
  void read_file() {
    const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    struct stat status {};
    const bool sized = fstat(file, &status) == 0;
    void* const map = sized ? mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ,
                                   MAP_PRIVATE, file, 0)
                            : MAP_FAILED;
    close(file);
    if (map == MAP_FAILED) return;
    const char* const bytes = static_cast<const char*>(map);
    const auto* header = reinterpret_cast<const Elf64_Ehdr*>(bytes);
    const auto* sections = reinterpret_cast<const Elf64_Shdr*>(bytes + header->e_shoff);
    std::size_t base = 0;
    dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* result) {
          *static_cast<std::size_t*>(result) = info->dlpi_addr;
          return 1;  // the program itself comes first
        },
        &base);
    for (int i = 0; i < header->e_shnum; ++i) {
      if (sections[i].sh_type != SHT_SYMTAB) continue;
      const char* const names = bytes + sections[sections[i].sh_link].sh_offset;
      const auto* symbols = reinterpret_cast<const Elf64_Sym*>(bytes + sections[i].sh_offset);
      const std::size_t count = sections[i].sh_size / sizeof(Elf64_Sym);
      for (std::size_t k = 0; k < count; ++k) add(symbols[k], names + symbols[k].st_name, base);
    }
  }

  void add(const Elf64_Sym& symbol, std::string_view name, std::size_t base) {
    const int type = ELF64_ST_TYPE(symbol.st_info);
    if (type == STT_FUNC && symbol.st_size != 0) {
      functions.push_back({symbol.st_value + base, symbol.st_size, name});
    } else if ((type == STT_OBJECT || type == STT_TLS) && name.substr(0, 3) == "_ZZ" &&
               name.find(kSharedTag) != name.npos) {
      const bool local = type == STT_TLS;
      shared.push_back({name, symbol.st_value + (local ? 0 : base), symbol.st_size, local,
                        name.find(kKernelTag) != name.npos});
    }
  }
};

const SymbolTable& table() {
  static const SymbolTable symbols;
  return symbols;
}

std::string demangle(std::string_view mangled) {
  int status = 0;
  char* const text = abi::__cxa_demangle(std::string(mangled).c_str(), nullptr, nullptr, &status);
  std::string name = text != nullptr && status == 0 ? std::string(text) : std::string(mangled);
  std::free(text);
  for (const char* tag : {"[abi:simt_shared]", "[abi:simt_kernel]"}) {
    for (std::size_t at; (at = name.find(tag)) != name.npos;) name.erase(at, std::strlen(tag));
  }
  return name;
}

}  // namespace

std::string SharedVariable::name() const {
  const std::string full = demangle(mangled);
  const std::size_t colons = full.rfind("::");
  return colons == full.npos ? full : full.substr(colons + 2);
}

const std::vector<SharedVariable>& shared_variables() { return table().shared; }

std::vector<const SharedVariable*> shared_variables_of(const void* kernel) {
  const Function* const function = table().find(kernel);
  std::vector<const SharedVariable*> found;
  for (const SharedVariable& v : table().shared) {
    // _ZZ <kernel without its _Z> E <variable>; a lambda of the kernel wraps it once more.
    const bool own =
        function != nullptr && v.mangled.find(function->mangled.substr(2)) != v.mangled.npos;
    if (own || !v.of_kernel) found.push_back(&v);
  }
  return found;
}

std::string function_name(const void* function) {
  if (const Function* const found = table().find(function)) return demangle(found->mangled);
  std::ostringstream text;
  text << function;
  return text.str();
}

bool have_symbols() { return !table().functions.empty(); }

Range thread_local_block() {
  Range range;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* result) {
        Range& r = *static_cast<Range*>(result);
        r.begin = r.end = static_cast<char*>(info->dlpi_tls_data);
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          if (info->dlpi_phdr[i].p_type == PT_TLS) r.end += info->dlpi_phdr[i].p_memsz;
        }
        return 1;
      },
      &range);
  return range;
}

}  // namespace mwalimu::simt::detail
