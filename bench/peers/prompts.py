"""Prompts for what depends on the text: a story that has to be made up, and a text whose answer repeats the prompt."""

PASSAGE = """\
1. Check that the valve of the second tank is closed and that the gauge reads less than two bar.
2. Switch the main pump on, wait until the lamp turns green, then open the valve slowly.
3. Write the time and the reading into the book, and close the valve again after ten minutes.
4. If the lamp turns red, switch the pump off at once and call the engineer on duty.
"""

# Name of a test: (prompt, tokens to make). The base model goes on with the pattern that it sees.
TEXTS = {
    "story": ("The keeper of the lighthouse had not seen a ship for three weeks. One morning", 128),
    "copy": (f"Original text:\n{PASSAGE}\nExact copy of the text:\n{PASSAGE}\nExact copy of the text, once more:\n", 96),
}
