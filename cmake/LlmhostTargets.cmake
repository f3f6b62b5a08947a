# llmhost_layer(NAME [DEPENDS targets…]): the static library of one folder under host/. Every .cpp of the folder belongs to it.
function(llmhost_layer name)
  cmake_parse_arguments(ARG "" "" "DEPENDS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  if(sources)
    add_library(llmhost_${name} STATIC ${sources})
    target_include_directories(llmhost_${name} PUBLIC ${PROJECT_SOURCE_DIR}/host)
    target_link_libraries(llmhost_${name} PUBLIC ${ARG_DEPENDS} PRIVATE llmhost_warnings)
  else()
    add_library(llmhost_${name} INTERFACE)
    target_include_directories(llmhost_${name} INTERFACE ${PROJECT_SOURCE_DIR}/host)
    target_link_libraries(llmhost_${name} INTERFACE ${ARG_DEPENDS})
  endif()
endfunction()

# llmhost_test(NAME LABEL label [DEPENDS targets…] SOURCES files…): one doctest binary, one CTest case per TEST_CASE.
# LABEL is unit (fast, no child processes), integration, or slow.
function(llmhost_test name)
  cmake_parse_arguments(ARG "" "LABEL" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES} ${PROJECT_SOURCE_DIR}/tests/support/main.cpp)
  target_link_libraries(${name} PRIVATE ${ARG_DEPENDS} doctest::doctest llmhost_warnings)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_compile_definitions(${name} PRIVATE LLMHOST_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/data"
                             LLMHOST_BINARY_DIR="${CMAKE_BINARY_DIR}")
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT 600)
endfunction()
