/** The link to an MLflow run: a plain one where its store has a server, else one that starts MLflow's UI first. */
import { useServices } from '../context';
import { CMD } from '../ids';

export function MlflowLink({ run, step, url }: { run: string; step?: string; url?: string }): JSX.Element {
  const { commands, trans } = useServices();
  const label = trans.__('MLflow run');
  return url ? (
    <a href={url} target="_blank" rel="noreferrer" className="mlops-Link">
      {label}
    </a>
  ) : (
    <button type="button" className="mlops-Link" onClick={() => commands.execute(CMD.openMlflow, { run, step })}>
      {label}
    </button>
  );
}
