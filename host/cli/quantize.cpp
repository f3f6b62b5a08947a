// llmhost quantize: a model in fewer bits, as a GGUF file or as a folder with bitsandbytes' 4 bits.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include "cli/command.h"
#include "cli/model_export.h"
#include "cli/support.h"
#include "core/error.h"
#include "core/new_folder.h"
#include "core/progress.h"
#include "core/thread_pool.h"
#include "model/new_weights.h"
#include "model/write_four_bit.h"

namespace llmhost::cli {
namespace {

class QuantizeCommand final : public Command {
 public:
  std::string name() const override { return "quantize"; }
  std::string summary() const override { return "Write a model in fewer bits"; }

  void declare(Options& options) override {
    options.positional("MODEL", model_, "Model folder, safetensors or GGUF file");
    options.positional("OUT", out_, "GGUF file; of nf4 and fp4 a folder, which must not be there yet");
    options.value("--type", type_,
                  fmt::format("nf4, fp4 (bitsandbytes), or of GGUF files {}",
                              fmt::join(model::GgufTypes::names(), ", ")));
    options.flag("--no-double-quant", no_double_quant_, "nf4 and fp4: block maxima in f32 instead of 8 bits");
    options.value("--block", block_, "nf4 and fp4: values that share a maximum (default 64)");
    options.value("--compute-dtype", compute_dtype_,
                  "nf4 and fp4: what the config names for products (float32, bfloat16, float16)");
    declare_export_options(options, export_);
    options.setting("--threads", "engine.threads");
    options.setting("--arch", "model.arch");
  }

  int run(Context& context) override {
    if (type_.empty()) throw UsageError("quantize: --type TYPE is needed");
    if (type_ != "nf4" && type_ != "fp4")
      return export_model(model_, out_, model::GgufTypes(type_), export_, context);
    return write_four_bit(context);
  }

 private:
  int write_four_bit(Context& context) const {
    const auto registry = open_registry(context.settings);
    const auto model = model::load_model(model_, *registry, load_options(context.settings));
    ThreadPool threads(static_cast<int32_t>(context.settings.get_int("engine.threads")));
    Progress progress("writing", model::bytes_to_write(*model), ProgressUnit::kBytes);
    model::WriteFourBitOptions options;
    options.four_bit.code = type_ == "nf4" ? model::FourBitCode::kNf4 : model::FourBitCode::kFp4;
    options.four_bit.block = block_;
    options.four_bit.is_nested = !no_double_quant_;
    options.compute_dtype = compute_dtype_;
    options.threads = &threads;
    options.progress = [&](uint64_t bytes) { progress.advance(bytes); };
    NewFolder folder(out_);
    const size_t count = model::write_four_bit_model(*model, folder.at(), options);
    progress.finish();
    // What cannot be read again is not put in place.
    static_cast<void>(model::load_model(folder.at(), *registry, load_options(context.settings)));
    folder.commit();
    if (context.json)
      print_json({{"out", out_}, {"type", type_}, {"tensors", count}});
    else
      fmt::print("{}: {} tensors in {}\n", out_, count, type_);
    return 0;
  }

  std::string model_, out_, type_, compute_dtype_;
  int64_t block_ = 64;
  bool no_double_quant_ = false;
  ModelExport export_;
};

}  // namespace

std::unique_ptr<Command> make_quantize_command() {
  return std::make_unique<QuantizeCommand>();
}

}  // namespace llmhost::cli
