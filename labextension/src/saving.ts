/** Saving a notebook before its file is read: by a run, a compilation, a magic. */
import type { DocumentRegistry } from '@jupyterlab/docregistry';

const LONGEST = 10_000; // milliseconds; the server saves a shared document a second after its last change

/** Saves what was changed. In a document that is shared the server saves, and that is waited for. */
export async function saveChanges(context: DocumentRegistry.Context): Promise<void> {
  const { model } = context;
  if (model.dirty && !model.collaborative) {
    await context.save();
  } else if (model.dirty) {
    await new Promise<void>(resolve => {
      const look = () => {
        if (!model.dirty) {
          done();
        }
      };
      const done = () => {
        clearTimeout(timer);
        model.stateChanged.disconnect(look);
        resolve();
      };
      const timer = setTimeout(done, LONGEST);
      model.stateChanged.connect(look);
    });
  }
}
