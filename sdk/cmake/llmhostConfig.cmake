# find_package(llmhost): the target llmhost::sdk and the functions llmhost_add_plugin() and llmhost_check_plugin().
include(${CMAKE_CURRENT_LIST_DIR}/llmhostTargets.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/LlmhostPlugin.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/LlmhostCheck.cmake)
