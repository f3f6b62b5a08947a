int sample_from_a_library_that_is_gone(void);
int sample_from_a_library_that_is_gone(void) {
  return 1;
}
