/** The preview of suggested steps: each proposal can be edited, all are accepted or dismissed at once. */
import { useServices } from '../context';
import { CMD } from '../ids';
import type { NotebookModel } from '../model';
import { CellRole, readTags, slug, STEP_NAME, withRole } from '../tags';
import { SelectField, TextField } from './field';
import { Section } from './section';

export function SuggestionSection({ model }: { model: NotebookModel }): JSX.Element | null {
  const { commands, trans } = useServices();
  const suggestion = model.suggestion;
  if (!suggestion) {
    return null;
  }
  const order = model.panel.content.widgets.map(cell => cell.model.id).filter(id => suggestion.tags[id]);
  return (
    <Section name="suggestion" title={trans.__('Suggestion')}>
      <p className="mlops-Hint">{trans.__('Nothing is written until you accept.')}</p>
      <div className="mlops-Row">
        <button
          type="button"
          className="mlops-Button mlops-mod-primary"
          disabled={model.readOnly}
          onClick={() => model.endSuggestion(true, trans.__('Suggested steps'))}
        >
          {trans.__('Accept')}
        </button>
        <button type="button" className="mlops-Button" onClick={() => model.endSuggestion(false, '')}>
          {trans.__('Dismiss')}
        </button>
      </div>
      <ul className="mlops-List" aria-label={trans.__('Suggested roles')}>
        {order.map(id => {
          const own = readTags(suggestion.tags[id]);
          return (
            <li key={id} className="mlops-Suggested">
              <button type="button" className="mlops-Link" onClick={() => commands.execute(CMD.goToStep, { cell: id })}>
                {firstLine(model, id)}
              </button>
              <SelectField
                label={trans.__('Role')}
                value={own.role}
                choices={[
                  { value: 'step', label: trans.__('Begins a step') },
                  { value: 'parameters', label: trans.__('Parameters') },
                  { value: 'setup', label: trans.__('Setup') },
                  { value: 'skip', label: trans.__('Skip') },
                  { value: '', label: trans.__('None: belongs to the step above') }
                ]}
                onValue={role =>
                  model.editSuggestion(id, withRole(suggestion.tags[id], role as CellRole | '', own.step || 'step'))
                }
              />
              {own.role === 'step' && (
                <TextField
                  label={trans.__('Step name')}
                  text={own.step}
                  help={suggestion.reasons[id]}
                  read={text =>
                    STEP_NAME.test(text)
                      ? { value: text }
                      : { problem: trans.__('This is no step name. Try "%1".', slug(text) || 'step') }
                  }
                  onValue={name => model.editSuggestion(id, withRole(suggestion.tags[id], 'step', String(name)))}
                />
              )}
              {own.role !== 'step' && <span className="mlops-Field-help">{suggestion.reasons[id]}</span>}
            </li>
          );
        })}
      </ul>
    </Section>
  );
}

function firstLine(model: NotebookModel, id: string): string {
  const source = model.panel.content.widgets.find(cell => cell.model.id === id)?.model.sharedModel.getSource() ?? '';
  return source.split('\n').find(line => line.trim()) ?? '';
}
