/**
 * A colour for each step, from the theme: the theme's own colours for code are made to be told apart on its background, in
 * light, dark and high contrast. Text never stands on them; they are for rails and dots.
 */
const COLOURS = [
  '--jp-brand-color1',
  '--jp-warn-color1',
  '--jp-mirror-editor-keyword-color',
  '--jp-mirror-editor-string-color',
  '--jp-mirror-editor-operator-color',
  '--jp-mirror-editor-comment-color',
  '--jp-mirror-editor-string-2-color',
  '--jp-mirror-editor-bracket-color'
];

/** The colour of the step at a position in notebook order, as a CSS value. */
export function stepColour(position: number): string {
  return `var(${COLOURS[position % COLOURS.length]})`;
}
