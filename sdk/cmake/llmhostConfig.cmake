# find_package(llmhost): the target llmhost::sdk and the function llmhost_add_plugin().
include(${CMAKE_CURRENT_LIST_DIR}/llmhostTargets.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/LlmhostPlugin.cmake)
