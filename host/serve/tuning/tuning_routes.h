// /v1/files and /v1/fine_tuning/jobs, in OpenAI's shape. For admins: a job takes the machine's time.
#pragma once

namespace llmhost::serve {

class ModelPool;
class Router;
class TuningJobs;

// `jobs` may be null: then every route says that fine-tuning is off and how it is switched on. Arguments must
// outlive the router's use.
void add_tuning_routes(Router& router, TuningJobs* jobs);

}  // namespace llmhost::serve
