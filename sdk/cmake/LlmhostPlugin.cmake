# Building plugins, in the project's tree and outside it (after find_package(llmhost)); see docs/plugins.md.
#
#   llmhost_add_plugin(NAME KIND arch|backend|finetune SOURCES files… [LINK libraries…]
#                      [MANIFEST plugin.yaml] [OUTPUT_DIRECTORY folder] [NO_INSTALL])
#
# makes the target NAME, the file NAME.so with the manifest in its section ".llmhost" and one exported symbol. Id and
# version stand in plugin.yaml alone; the code gets them as LLMH_PLUGIN_ID and LLMH_PLUGIN_VERSION.

foreach(folder ${CMAKE_CURRENT_LIST_DIR}/../include ${CMAKE_CURRENT_LIST_DIR}/../../../include)
  if(EXISTS ${folder}/llmhost/version.h)
    get_filename_component(LLMHOST_SDK_INCLUDE ${folder} ABSOLUTE)
    break()
  endif()
endforeach()
file(STRINGS ${LLMHOST_SDK_INCLUDE}/llmhost/version.h LLMHOST_SDK_LINES REGEX "#define LLMH_(SDK_MAJOR|SDK_MINOR) ")
foreach(line ${LLMHOST_SDK_LINES})
  if(line MATCHES "#define LLMH_(SDK_[A-Z]+) ([0-9]+)")
    set(LLMHOST_${CMAKE_MATCH_1} ${CMAKE_MATCH_2})
  endif()
endforeach()
set(LLMHOST_PLUGIN_FOLDER lib/llmhost/plugins) # below the build folder and below the install prefix

# The value of a plain `key: value` line of a manifest, or empty.
function(llmhost_manifest_value manifest key out)
  set(value "")
  file(STRINGS ${manifest} lines REGEX "^${key}:")
  if(lines MATCHES "^${key}:[ ]*[\"']?([A-Za-z0-9._+-]+)")
    set(value ${CMAKE_MATCH_1})
  endif()
  set(${out} "${value}" PARENT_SCOPE)
endfunction()

# The manifest as a source file: bytes of the section ".llmhost". The sanitizer list is the compiler's own word, so the
# text must end inside "sanitizers: [" when `open_list` is true.
function(llmhost_embed_manifest target text open_list)
  string(HEX "${text}" hex)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
  string(REGEX REPLACE "(................................................................................)" "\\1\n" bytes "${bytes}")
  set(tail "")
  if(open_list)
    set(tail "
#if LLMH_HAS_FEATURE(address_sanitizer) || defined(__SANITIZE_ADDRESS__)
'a', 'd', 'd', 'r', 'e', 's', 's',
#elif LLMH_HAS_FEATURE(thread_sanitizer) || defined(__SANITIZE_THREAD__)
't', 'h', 'r', 'e', 'a', 'd',
#elif LLMH_HAS_FEATURE(memory_sanitizer)
'm', 'e', 'm', 'o', 'r', 'y',
#endif
']', '\\n'")
  endif()
  get_property(languages GLOBAL PROPERTY ENABLED_LANGUAGES)
  set(extension cpp)
  if("C" IN_LIST languages)
    set(extension c)
  endif()
  set(source ${CMAKE_CURRENT_BINARY_DIR}/${target}_manifest.${extension})
  file(CONFIGURE OUTPUT ${source} @ONLY CONTENT [[
#ifdef __has_feature
#define LLMH_HAS_FEATURE(name) __has_feature(name)
#else
#define LLMH_HAS_FEATURE(name) 0
#endif
#if defined(__has_attribute)
#if __has_attribute(retain)
#define LLMH_RETAIN , retain
#endif
#endif
#ifndef LLMH_RETAIN
#define LLMH_RETAIN
#endif
static const unsigned char kManifest[] __attribute__((section(".llmhost"), used LLMH_RETAIN)) = {
@bytes@
@tail@};
]])
  target_sources(${target} PRIVATE ${source})
endfunction()

# One exported symbol, no unresolved ones, nothing of the linked libraries visible.
function(llmhost_restrict_exports target)
  set(script ${CMAKE_CURRENT_BINARY_DIR}/${target}.map)
  file(CONFIGURE OUTPUT ${script} CONTENT "{ global: llmhost_plugin_v${LLMHOST_SDK_MAJOR}; local: *; };\n" @ONLY)
  set_target_properties(${target} PROPERTIES C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden
                        VISIBILITY_INLINES_HIDDEN ON LINK_DEPENDS ${script})
  target_link_options(${target} PRIVATE LINKER:--version-script=${script} LINKER:--exclude-libs,ALL)
  # Clang leaves the sanitizer's symbols to the executable.
  get_directory_property(options COMPILE_OPTIONS)
  set(sanitized FALSE)
  if("${options} ${CMAKE_C_FLAGS} ${CMAKE_CXX_FLAGS}" MATCHES "-fsanitize=")
    set(sanitized TRUE)
  endif()
  if(NOT (sanitized AND "${CMAKE_C_COMPILER_ID} ${CMAKE_CXX_COMPILER_ID}" MATCHES "Clang"))
    target_link_options(${target} PRIVATE LINKER:-z,defs)
  endif()
endfunction()

function(llmhost_add_plugin name)
  cmake_parse_arguments(ARG "NO_INSTALL" "KIND;MANIFEST;OUTPUT_DIRECTORY" "SOURCES;LINK" ${ARGN})
  if(NOT ARG_MANIFEST)
    set(ARG_MANIFEST plugin.yaml)
  endif()
  get_filename_component(manifest ${ARG_MANIFEST} ABSOLUTE BASE_DIR ${CMAKE_CURRENT_SOURCE_DIR})
  if(NOT EXISTS ${manifest})
    message(FATAL_ERROR "llmhost_add_plugin(${name}): ${manifest} is missing; it needs at least id, kind and version")
  endif()
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${manifest})
  foreach(key id kind version min_host_minor)
    llmhost_manifest_value(${manifest} ${key} ${key})
    if(NOT ${key} AND NOT key STREQUAL "min_host_minor")
      message(FATAL_ERROR "${manifest}: the key '${key}' is missing")
    endif()
  endforeach()
  if(NOT kind STREQUAL ARG_KIND OR NOT kind MATCHES "^(arch|backend|finetune)$")
    message(FATAL_ERROR "llmhost_add_plugin(${name}): KIND is '${ARG_KIND}', ${manifest} says '${kind}'; both must be the "
                        "same: arch, backend or finetune")
  endif()

  add_library(${name} MODULE ${ARG_SOURCES})
  if(NOT ARG_OUTPUT_DIRECTORY)
    set(ARG_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/${LLMHOST_PLUGIN_FOLDER})
  endif()
  set_target_properties(${name} PROPERTIES PREFIX "" SUFFIX ".so" POSITION_INDEPENDENT_CODE ON
                        LIBRARY_OUTPUT_DIRECTORY ${ARG_OUTPUT_DIRECTORY})
  get_target_property(standard ${name} CXX_STANDARD)
  if(NOT standard)
    set_target_properties(${name} PROPERTIES CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON)
  endif()
  target_link_libraries(${name} PRIVATE llmhost::sdk ${ARG_LINK})
  if(TARGET llmhost_warnings)
    target_link_libraries(${name} PRIVATE llmhost_warnings)
  endif()
  target_compile_definitions(${name} PRIVATE LLMH_PLUGIN_ID="${id}" LLMH_PLUGIN_VERSION="${version}")
  if(NOT min_host_minor STREQUAL "")
    target_compile_definitions(${name} PRIVATE LLMH_MIN_HOST_MINOR=${min_host_minor})
  endif()

  get_property(languages GLOBAL PROPERTY ENABLED_LANGUAGES)
  set(compiler "${CMAKE_C_COMPILER_ID} ${CMAKE_C_COMPILER_VERSION}")
  if("CXX" IN_LIST languages)
    set(compiler "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}")
  endif()
  file(READ ${manifest} text)
  string(APPEND text "\nbuild:\n  sdk_major: ${LLMHOST_SDK_MAJOR}\n  sdk_minor: ${LLMHOST_SDK_MINOR}\n"
                     "  compiler: \"${compiler}\"\n  type: \"${CMAKE_BUILD_TYPE}\"\n  machine: ${CMAKE_SYSTEM_PROCESSOR}\n"
                     "  sanitizers: [")
  llmhost_embed_manifest(${name} "${text}" TRUE)
  llmhost_restrict_exports(${name})
  if(NOT ARG_NO_INSTALL)
    install(TARGETS ${name} LIBRARY DESTINATION ${LLMHOST_PLUGIN_FOLDER})
  endif()
endfunction()
