import { readdirSync, readFileSync } from 'fs';
import { join } from 'path';

const ROOT = join(__dirname, '..', '..');

/** The files of a folder and below it, without tests. */
function files(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter(entry => entry.name !== '__tests__')
    .flatMap(entry => (entry.isDirectory() ? files(join(folder, entry.name)) : [join(folder, entry.name)]));
}

test('colours come from the theme and from nowhere else', () => {
  const colour = /#[0-9a-f]{3,8}\b|\b(?:rgb|hsl|hwb|lab|oklch)a?\(|:\s*(?:white|black|red|green|blue|gr[ae]y|orange|yellow)\b/i;
  const found = [...files(join(ROOT, 'style')), ...files(join(ROOT, 'src'))]
    .filter(file => /\.(css|tsx?)$/.test(file))
    .flatMap(file =>
      readFileSync(file, 'utf-8')
        .split('\n')
        .filter(line => colour.test(line))
        .map(line => `${file}: ${line}`)
    );
  expect(found).toEqual([]);
});
