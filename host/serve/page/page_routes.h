// The web page's routes: its files, open to everyone who may reach the server; what it asks needs a key.
#pragma once

#include "serve/http/router.h"

namespace llmhost::serve {

void add_page_routes(Router& router);

}  // namespace llmhost::serve
