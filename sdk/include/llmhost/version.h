/* Version of the plugin boundary. Nobody types these numbers into a struct: LLMH_PLUGIN and LLMH_STRUCT fill them in.
 *
 * major  is part of the exported symbol's name; another major is another symbol, so it is refused, never misread.
 * minor  grows when a table or struct gets a field at its end or an op is added. Host and plugin both work with
 *        min(host minor, plugin minor). A host accepts a plugin when host minor >= plugin's min_host_minor.
 *
 * While LLMH_SDK_UNSTABLE is 1 the boundary may still change without a new major: rebuild plugins with each release. */
#ifndef LLMHOST_VERSION_H
#define LLMHOST_VERSION_H

#define LLMH_SDK_MAJOR 1
#define LLMH_SDK_MINOR 0
#define LLMH_SDK_UNSTABLE 1

/* Oldest host minor that a plugin compiled with these headers runs on; a plugin that needs more defines it itself. */
#ifndef LLMH_MIN_HOST_MINOR
#define LLMH_MIN_HOST_MINOR 0
#endif

#define LLMH_OPSET_VERSION 1 /* the newest op of op.h belongs to this version of the op set */

#endif /* LLMHOST_VERSION_H */
