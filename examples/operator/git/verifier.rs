//! Reads pushed commits back from the target, through one `git cat-file --batch` that stays.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::change::{CommitId, folder};
use super::command::{Git, GitFailure};
use super::conversation::Conversation;
use super::error::{Difference, DifferenceKind, VerifyError};
use super::target::Remote;

/// Bytes of one folder's tree object, at most: far beyond what 64 files need.
const MAX_TREE_BYTES: u64 = 1 << 20;

/// A commit to be read, what its folder must hold, and who waits for the answer.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) commit: CommitId,
    pub(crate) key: String,
    pub(crate) files: BTreeMap<String, Bytes>,
    pub(crate) reply: oneshot::Sender<Result<(), VerifyError>>,
}

/// The verifier's state; it belongs to its task.
#[derive(Debug)]
pub(crate) struct Verifier {
    /// The target itself when it lies on this machine, else a mirror that fetches from it.
    git: Git,
    mirror_of: Option<Remote>,
    deploy_path: String,
    reader: Option<Conversation>,
    /// As many as were committed: the committer's report names each of them, too.
    verified: HashSet<CommitId>,
    /// How many that may be.
    listed: usize,
}

/// What the process says about one object.
enum Object {
    Missing,
    Is { id: String, kind: String, size: u64 },
}

impl Verifier {
    pub(crate) fn new(git: Git, mirror_of: Option<Remote>, deploy_path: String) -> Self {
        Self {
            git,
            mirror_of,
            deploy_path,
            reader: None,
            verified: HashSet::new(),
            listed: usize::MAX,
        }
    }

    /// Names at most so many commits at its end.
    pub(crate) fn listing(self, listed: usize) -> Self {
        Self { listed, ..self }
    }

    /// Serves until `closing`, then what has been accepted before, then ends and tells which
    /// commits it found right.
    pub(crate) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Request>,
        closing: CancellationToken,
    ) -> HashSet<CommitId> {
        loop {
            let request = tokio::select! {
                biased;
                () = closing.cancelled(), if !inbox.is_closed() => {
                    inbox.close();
                    continue;
                }
                request = inbox.recv() => request,
            };
            let Some(request) = request else { break };
            if !request.reply.is_closed() {
                let verdict = self.verify(&request).await;
                let is_right = verdict.is_ok();
                // Nobody may be waiting any more: then its intent does not end as committed.
                if request.reply.send(verdict).is_ok()
                    && is_right
                    && self.verified.len() < self.listed
                {
                    self.verified.insert(request.commit);
                }
            }
        }
        if let Some(reader) = self.reader.take() {
            // It only reads; how it ends changes nothing.
            _ = reader.end().await;
        }
        self.verified
    }

    /// Compares once; a mirror that doesn't have the commit yet fetches and looks again.
    async fn verify(&mut self, request: &Request) -> Result<(), VerifyError> {
        let verdict = self.compare(request).await;
        let (Err(VerifyError::Missing(_)), Some(remote)) = (&verdict, &self.mirror_of) else {
            return verdict;
        };
        remote.fetch(&self.git).await.map_err(|failure| VerifyError::Git(failure.to_string()))?;
        self.compare(request).await
    }

    async fn compare(&mut self, request: &Request) -> Result<(), VerifyError> {
        let failed = |failure: GitFailure| VerifyError::Git(failure.to_string());
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => Conversation::start(&self.git, "cat-file", &["cat-file", "--batch"])
                .map_err(failed)?,
        };
        let folder = folder(&self.deploy_path, &request.key);
        let asked = compare(&mut reader, &folder, request);
        let differences = match tokio::time::timeout(self.git.timeout(), asked).await {
            Ok(Ok(differences)) => differences,
            Ok(Err(error)) => return Err(failed(reader.failure(error).await)),
            Err(elapsed) => return Err(failed(reader.failure(elapsed).await)),
        };
        self.reader = Some(reader);
        match differences {
            None => Err(VerifyError::Missing(request.commit.to_string())),
            Some(differences) if differences.is_empty() => Ok(()),
            Some(differences) => Err(VerifyError::Different(differences)),
        }
    }
}

/// Every way in which the commit's folder is not what was asked for; `None` without the commit.
async fn compare(
    reader: &mut Conversation,
    folder: &str,
    request: &Request,
) -> std::io::Result<Option<Vec<Difference>>> {
    let commit = &request.commit;
    let entries = match ask(reader, &format!("{commit}:{folder}")).await? {
        Object::Is { kind, size, .. } if kind == "tree" && size <= MAX_TREE_BYTES => {
            entries(&reader.answers.bytes(usize::try_from(size).unwrap_or(0)).await?)
        }
        Object::Is { size, .. } => {
            reader.answers.skip(size).await?;
            BTreeMap::new()
        }
        // Either the commit has no such folder, or there is no such commit.
        Object::Missing => match ask(reader, commit.as_str()).await? {
            Object::Missing => return Ok(None),
            Object::Is { size, .. } => {
                reader.answers.skip(size).await?;
                BTreeMap::new()
            }
        },
    };
    let mut found = Vec::new();
    for (file, bytes) in &request.files {
        let kind = match entries.get(file) {
            None => Some(DifferenceKind::Absent),
            Some(id) => (!holds(reader, id, bytes).await?).then_some(DifferenceKind::Bytes),
        };
        found.extend(kind.map(|kind| Difference { file: file.clone(), kind }));
    }
    let others = entries.into_keys().filter(|file| !request.files.contains_key(file));
    found.extend(others.map(|file| Difference { file, kind: DifferenceKind::Unexpected }));
    Ok(Some(found))
}

/// Asks for one object; the process answers in one line, the object follows.
async fn ask(reader: &mut Conversation, name: &str) -> std::io::Result<Object> {
    reader.questions.write_all(format!("{name}\n").as_bytes()).await?;
    reader.questions.flush().await?;
    let line = reader.answers.line().await?;
    let mut words = line.rsplitn(3, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some("missing"), Some(_), _) => Ok(Object::Missing),
        (Some(size), Some(kind), Some(id)) => Ok(Object::Is {
            id: id.to_owned(),
            kind: kind.to_owned(),
            size: size.parse().map_err(std::io::Error::other)?,
        }),
        _ => Err(std::io::Error::other(format!("unexpected answer {line:?}"))),
    }
}

/// Whether the object with this id is a file of exactly these bytes.
async fn holds(reader: &mut Conversation, id: &str, bytes: &Bytes) -> std::io::Result<bool> {
    match ask(reader, id).await? {
        Object::Missing => Ok(false),
        Object::Is { id: found, kind, size } if kind == "blob" && size == bytes.len() as u64 => {
            Ok(reader.answers.bytes(bytes.len()).await? == *bytes && found == id)
        }
        Object::Is { size, .. } => reader.answers.skip(size).await.map(|()| false),
    }
}

/// The names and ids in a tree object: `<mode> <name>\0<20 bytes of id>`, again and again.
fn entries(mut tree: &[u8]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    while let Some(end) = tree.iter().position(|byte| *byte == 0) {
        let (head, rest) = tree.split_at(end);
        let Some((id, rest)) = rest.get(1..).and_then(|rest| rest.split_at_checked(20)) else {
            break;
        };
        let name = head.splitn(2, |byte| *byte == b' ').nth(1).unwrap_or_default();
        let id = id.iter().map(|byte| format!("{byte:02x}")).collect();
        found.insert(String::from_utf8_lossy(name).into_owned(), id);
        tree = rest;
    }
    found
}
