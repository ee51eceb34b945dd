use std::time::Duration;

use super::*;

fn git(dir: &std::path::Path) -> Git {
    Git::at(dir, Duration::from_secs(30))
}

async fn bare(dir: &std::path::Path) -> Git {
    std::fs::create_dir(dir).unwrap();
    git(dir).run("init", &["init", "--quiet", "--bare", "."]).await.unwrap();
    git(dir)
}

fn request(content: u128) -> (Request, oneshot::Receiver<Result<CommitId, CommitError>>) {
    let (reply, answer) = oneshot::channel();
    let change = Change {
        namespace: "a".to_owned(),
        name: "web".to_owned(),
        generation: None,
        content,
        subject: "intent: a/web".to_owned(),
        files: [("x.yaml".to_owned(), content.to_string().into())].into(),
    };
    (Request { change, reply }, answer)
}

#[tokio::test]
async fn the_death_of_the_writing_process_is_told_and_the_next_group_starts_another() {
    let dir = tempfile::tempdir().unwrap();
    let target = bare(&dir.path().join("target")).await;
    let staging = bare(&dir.path().join("staging")).await;
    let remote = Remote::new(&target.dir().display().to_string(), "main");
    let place = Place { branch: "main".to_owned(), deploy_path: "deploy".to_owned() };
    let mut committer = Committer::start(staging, remote, place, 8, usize::MAX).await.unwrap();
    let (first, answer) = request(1);
    committer.serve(vec![first]).await;
    answer.await.unwrap().unwrap();

    committer.writer.as_mut().unwrap().kill().await;
    let (second, answer) = request(2);
    committer.serve(vec![second]).await;
    let failed = answer.await.unwrap().unwrap_err();
    assert!(matches!(failed, CommitError::Git(_)), "{failed}");
    assert!(failed.is_retryable() && failed.to_string().starts_with("git fast-import: "));

    let (again, answer) = request(2);
    committer.serve(vec![again]).await;
    let id = answer.await.unwrap().unwrap();
    assert_eq!(committer.remote.head(&target).await.unwrap(), Some(id));
    assert_eq!(committer.finish().await.committed, 2);
}
