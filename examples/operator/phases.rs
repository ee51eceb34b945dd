//! The five phases. Each takes what the one before it made; the compiler checks the chain.

use std::sync::Arc;

use headworks::pipeline::{Phase, PhaseContext, PhaseError, Step};
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, AnswerError, parse_for};
use crate::ask::Llm;
use crate::git::{Change, CommitError, CommitId, Repository, VerifyError};
use crate::intent::NetworkIntent;
use crate::manifests::render;
use crate::plan::{ResourcePlan, plan};
use crate::problem::{Fault, Rule};

/// The names of the phases, in order.
pub(crate) const LLM_PROCESSING: &str = "LLMProcessing";
pub(crate) const RESOURCE_PLANNING: &str = "ResourcePlanning";
pub(crate) const MANIFEST_GENERATION: &str = "ManifestGeneration";
pub(crate) const GIT_OPS_COMMIT: &str = "GitOpsCommit";
pub(crate) const DEPLOYMENT_VERIFICATION: &str = "DeploymentVerification";

/// Asks the LLM and holds its answer to the rules. Equal questions have equal answers, so one
/// answer serves all who ask the same ([`Phase::cached`]).
pub(crate) struct Asking(pub(crate) Llm);

impl Phase<Arc<NetworkIntent>> for Asking {
    type Out = Answer;

    async fn run(
        &self,
        intent: &Arc<NetworkIntent>,
        _: &PhaseContext,
    ) -> Result<Step<Answer>, PhaseError> {
        let text = self.0.ask(intent).await?;
        parse_for(intent, &text).map(Step::Done).map_err(answer_failed)
    }
}

/// Has an answer, asked for now or earlier, and goes on with it and the intent.
pub(crate) struct LlmProcessing<A>(pub(crate) A);

/// An intent and the answer to it: kept on disk, since it was paid for.
#[derive(Serialize, Deserialize)]
pub(crate) struct Answered {
    intent: Arc<NetworkIntent>,
    answer: Answer,
}

impl<A: Phase<Arc<NetworkIntent>, Out = Answer>> Phase<Arc<NetworkIntent>> for LlmProcessing<A> {
    type Out = Answered;

    async fn run(
        &self,
        intent: &Arc<NetworkIntent>,
        context: &PhaseContext,
    ) -> Result<Step<Answered>, PhaseError> {
        Ok(match self.0.run(intent, context).await? {
            Step::Done(answer) => Step::Done(Answered { intent: Arc::clone(intent), answer }),
            Step::Again { after } => Step::Again { after },
        })
    }
}

/// Plans resources within the author's bounds.
pub(crate) struct ResourcePlanning;

/// An intent and its plan.
pub(crate) struct Planned {
    intent: Arc<NetworkIntent>,
    plan: ResourcePlan,
}

impl Phase<Answered> for ResourcePlanning {
    type Out = Planned;

    async fn run(&self, it: &Answered, _: &PhaseContext) -> Result<Step<Planned>, PhaseError> {
        let plan = plan(&it.intent, &it.answer).map_err(PhaseError::permanent)?;
        Ok(Step::Done(Planned { intent: Arc::clone(&it.intent), plan }))
    }
}

/// Renders the plan as files.
pub(crate) struct ManifestGeneration;

impl Phase<Planned> for ManifestGeneration {
    type Out = Change;

    async fn run(&self, it: &Planned, _: &PhaseContext) -> Result<Step<Change>, PhaseError> {
        Ok(Step::Done(change(&it.intent, &it.plan)))
    }
}

/// Commits the files: critical, and safe to repeat, because the committer knows the newest commit
/// of every key.
pub(crate) struct GitOpsCommit(pub(crate) Repository);

/// What was committed, and as what.
pub(crate) struct Committed {
    change: Change,
    commit: CommitId,
}

impl Phase<Change> for GitOpsCommit {
    type Out = Committed;

    async fn run(&self, change: &Change, _: &PhaseContext) -> Result<Step<Committed>, PhaseError> {
        let commit = self.0.commit(change.clone()).await.map_err(commit_failed)?;
        Ok(Step::Done(Committed { change: change.clone(), commit }))
    }
}

/// Reads the commit back and compares it byte for byte.
pub(crate) struct DeploymentVerification(pub(crate) Repository);

impl Phase<Committed> for DeploymentVerification {
    type Out = CommitId;

    async fn run(&self, it: &Committed, _: &PhaseContext) -> Result<Step<CommitId>, PhaseError> {
        self.0.verify(&it.commit, &it.change).await.map_err(verification_failed)?;
        Ok(Step::Done(it.commit.clone()))
    }
}

fn change(intent: &NetworkIntent, plan: &ResourcePlan) -> Change {
    let subject = format!("intent: {}", intent.key());
    Change {
        // Names may be long; a subject is one line that people read.
        subject: subject.chars().take(200).collect(),
        namespace: intent.namespace.to_string(),
        name: intent.name.to_string(),
        generation: intent.generation,
        content: intent.content,
        files: render(intent, plan),
    }
}

fn answer_failed(error: AnswerError) -> PhaseError {
    match error {
        AnswerError::Broken(fault) => PhaseError::permanent(fault),
        AnswerError::NoObject(_) => PhaseError::retryable(error),
    }
}

fn commit_failed(error: CommitError) -> PhaseError {
    match error {
        CommitError::Invalid { .. } => {
            PhaseError::permanent(Fault::new("", Rule::Unfit(error.to_string())))
        }
        _ if error.is_retryable() => PhaseError::retryable(error),
        _ => PhaseError::permanent(error),
    }
}

fn verification_failed(error: VerifyError) -> PhaseError {
    match error.is_retryable() {
        true => PhaseError::retryable(error),
        false => PhaseError::permanent(error),
    }
}
