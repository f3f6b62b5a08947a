# llmhost_add_plugin(NAME …) is defined here; see docs/plugins.md.
