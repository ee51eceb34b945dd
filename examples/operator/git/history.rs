//! The walk over a history that fills the index.

use tokio::io::{AsyncBufReadExt, BufReader};

use super::change::CommitId;
use super::command::{Git, GitFailure, read_tail};
use super::index::{Attempt, Index};

/// Tells `index` every commit of `range` that carries our trailers, oldest first. One process,
/// read as a stream: the history itself is never in memory.
pub(crate) async fn walk(git: &Git, range: &str, index: &mut Index) -> Result<u64, GitFailure> {
    let what = "log";
    let failed = |source| GitFailure::Start { what, source };
    let mut command = git.command();
    command.args(["log", "--reverse", "--topo-order", "-z", "--format=%H%n%B", range, "--"]);
    let mut child = command.spawn().map_err(failed)?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(failed(std::io::ErrorKind::BrokenPipe.into()));
    };
    let read = async {
        let (mut lines, mut record, mut seen) = (BufReader::new(stdout), Vec::new(), 0);
        while lines.read_until(0, &mut record).await? > 0 {
            if let Some((key, attempt, id)) = parse(&String::from_utf8_lossy(&record)) {
                index.found(key, attempt, id);
            }
            record.clear();
            seen += 1;
        }
        std::io::Result::Ok(seen)
    };
    let (seen, stderr) = tokio::join!(read, read_tail(stderr));
    let seen = seen.map_err(failed)?;
    match child.wait().await.map_err(failed)?.success() {
        true => Ok(seen),
        false => Err(GitFailure::Exit { what, stdout: String::new(), stderr }),
    }
}

/// Reads `<id>\n<message>`; `None` for a commit that is not one of ours. Trailers count only in
/// the message's last paragraph, so that a subject cannot pretend to be one.
fn parse(record: &str) -> Option<(String, Attempt, CommitId)> {
    let (id, message) = record.trim_end_matches(['\0', '\n']).split_once('\n')?;
    let (_, trailers) = message.rsplit_once("\n\n")?;
    let value =
        |name: &str| trailers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let generation = match value("Generation")? {
        "-" => None,
        number => Some(number.parse().ok()?),
    };
    let content = u128::from_str_radix(value("Content")?, 16).ok()?;
    Some((value("Intent")?.to_owned(), Attempt { generation, content }, CommitId::parse(id)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789012345678901234567890123456789";

    #[test]
    fn trailers_count_in_the_last_paragraph_only() {
        let ours = format!("{ID}\nIntent: a/b\n\nIntent: c/d\nGeneration: 7\nContent: 0f\n\0");
        let (key, attempt, id) = parse(&ours).unwrap();
        assert_eq!((key.as_str(), id.as_str()), ("c/d", ID));
        assert_eq!(attempt, Attempt { generation: Some(7), content: 15 });
        let none = format!("{ID}\nsubject\n\nIntent: c/d\nGeneration: -\nContent: 0f\n\0");
        assert_eq!(parse(&none).unwrap().1.generation, None);
    }

    #[test]
    fn other_peoples_commits_are_none_of_ours() {
        for message in [
            "subject\n",
            "subject\n\nIntent: a/b\n",
            "subject\n\nIntent: a/b\nGeneration: x\nContent: 0f\n",
            "subject\n\nIntent: a/b\nGeneration: 1\nContent: hello\n",
            "Intent: a/b\nGeneration: 1\nContent: 0f\n",
        ] {
            assert_eq!(parse(&format!("{ID}\n{message}\0")), None, "{message}");
        }
    }
}
