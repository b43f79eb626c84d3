//! `banyan library`: what the mesh has, and what is done to packages here.

mod args;
mod bar;
mod wait;
mod watch;

use hyper::Method;

use self::args::{Action, Get, Job, Jobs, List, Package, Push, Root, Start};
use super::{
    exit::{Failure, Outcome},
    render::library as render,
    show::{client, items, shown},
    watch::{read, read_part},
};
use crate::views::{
    View,
    library::{ExplainView, JobView, JobsView, LibraryView, PackageView, RootRequest, StartRequest, TitleView},
};

pub(crate) use args::Library;

/// Carries out a command.
pub(crate) async fn library(Library { action, read }: Library) -> Outcome {
    match action {
        None => list(List { name: None, read }).await,
        Some(Action::List(args)) => list(args).await,
        Some(Action::Show(args)) => package(args).await,
        Some(Action::Add(args)) => root(Method::POST, args).await,
        Some(Action::RemoveRoot(args)) => root(Method::DELETE, args).await,
        Some(Action::Get(Get { start, install })) => {
            let install = install.then_some(true);
            begin("get", start, |request| StartRequest { install, ..request }).await
        }
        Some(Action::Install(args)) => begin("install", args, |request| request).await,
        Some(Action::Update(args)) => begin("update", args, |request| request).await,
        Some(Action::Uninstall(args)) => begin("uninstall", args, |request| request).await,
        Some(Action::Remove(args)) => begin("remove", args, |request| request).await,
        Some(Action::Verify(args)) => begin("verify", args, |request| request).await,
        Some(Action::Push(Push { start, to, activate_when })) => {
            begin("push", start, |request| StartRequest { to: Some(to), activate_when, ..request }).await
        }
        Some(Action::Jobs(args)) => jobs(args).await,
        Some(Action::Explain(Job { id, show })) => {
            let explanation: ExplainView = client(&show)?.view(&format!("/v1/library/jobs/{id}/explain")).await?;
            shown(show.format, explanation, render::explanation)
        }
        Some(Action::Cancel(Job { id, show })) => {
            let path = format!("/v1/library/jobs/{id}/cancel");
            let job: JobView = client(&show)?.send(Method::POST, &path, None::<&()>).await?;
            shown(show.format, job, render::job)
        }
        Some(Action::Watch(show)) => watch::watch(&client(&show)?, show.format).await,
    }
}

async fn list(List { name, read }: List) -> Outcome {
    let wanted = name.map(|name| name.to_lowercase());
    let cut = |library: &mut LibraryView| {
        if let Some(name) = &wanted {
            library.titles.retain(|title| title.name.to_lowercase().contains(name));
        }
    };
    let table = |style, library: &LibraryView| match wanted {
        Some(_) => render::versions(style, &library.titles),
        None => render::titles(style, library),
    };
    let lines = |library: &LibraryView| items(TitleView::SCHEMA, &library.titles);
    read_part(&read, "/v1/library", cut, table, lines).await
}

async fn package(Package { package, show }: Package) -> Outcome {
    let path = format!("/v1/library/packages/{}", percent_encode(package.as_str()));
    let package: PackageView = client(&show)?.view(&path).await?;
    shown(show.format, package, render::package)
}

/// Shares a folder, or no longer.
async fn root(method: Method, Root { path, show }: Root) -> Outcome {
    let path = std::path::absolute(&path).map_err(|error| {
        Failure::usage(format!("{} is no path: {error}", path.display()), "name a folder that is there")
    })?;
    let library: LibraryView = client(&show)?.send(method, "/v1/library/roots", Some(&RootRequest { path })).await?;
    shown(show.format, library, render::roots)
}

async fn jobs(Jobs { id, read: how }: Jobs) -> Outcome {
    let line = |job: &JobView| items(JobView::SCHEMA, std::slice::from_ref(job));
    let lines = |jobs: &JobsView| items(JobView::SCHEMA, &jobs.jobs);
    match id {
        Some(id) => read(&how, &format!("/v1/library/jobs/{id}"), render::job, line).await,
        None => read(&how, "/v1/library/jobs", render::jobs, lines).await,
    }
}

/// Starts a job and waits for its end, unless told not to.
async fn begin(verb: &str, args: Start, with: impl FnOnce(StartRequest) -> StartRequest) -> Outcome {
    let Start { package: Package { package, show }, detach } = args;
    let request =
        with(StartRequest { package: package.as_str().to_owned(), install: None, to: None, activate_when: None });
    let client = client(&show)?;
    let job: JobView = client.send(Method::POST, &format!("/v1/library/{verb}"), Some(&request)).await?;
    if !detach {
        return wait::wait(&client, job, show.format).await;
    }
    shown(show.format, job, |_, job| format!("job {0} has begun: see `banyan library jobs {0}`\n", job.id))
}

/// Text as one segment of a path.
pub(super) fn percent_encode(text: &str) -> String {
    let encode = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_segments_of_paths() {
        assert_eq!(percent_encode("two words@1.0/é"), "two%20words%401.0%2F%C3%A9");
    }
}
