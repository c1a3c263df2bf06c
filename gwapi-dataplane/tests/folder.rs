//! Folders on a real disk, watched for real.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gwapi_dataplane::folder::{Folder, FolderChange};
use gwapi_model::manifest::{Problem, Severity};
use gwapi_model::{Kind, ObjectId, Resource, Resources};

/// Everything that is waited for comes long before this.
const WAIT: Duration = Duration::from_secs(30);

/// Longer than what is never to come would take.
const SETTLED: Duration = Duration::from_millis(300);

/// A folder under watch, and the ground state that its events add up to.
struct Session {
    folder: Folder,
    resources: Resources,
    problems: Vec<Problem>,
    foreign: Vec<(String, usize)>,
    files: Vec<PathBuf>,
    events: usize,
    /// Objects that must never be missing.
    kept: Vec<ObjectId>,
}

impl Session {
    fn open(paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        let paths = paths.into_iter().map(|path| path.as_ref().to_owned()).collect();
        let (folder, first) = Folder::open(paths);
        let mut session = Self {
            folder,
            resources: Resources::default(),
            problems: Vec::new(),
            foreign: Vec::new(),
            files: Vec::new(),
            events: 0,
            kept: Vec::new(),
        };
        session.take(first);
        session.folder.watch().unwrap();
        // What the first look under watch finds is what is there already.
        assert!(session.folder.wait(Some(Duration::ZERO)).is_none());
        session
    }

    fn take(&mut self, change: FolderChange) {
        self.events += change.events.len();
        for event in change.events {
            self.resources.apply(event);
        }
        self.problems = change.problems;
        self.foreign = change.foreign;
        self.files = change.files;
        for id in &self.kept {
            assert!(self.resources.get(id).is_some(), "{id} was gone for a moment");
        }
    }

    /// Waits until something is so.
    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + WAIT;
        while !is_so(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.folder.wait(Some(left)) {
                Some(change) => self.take(change),
                None => panic!("never: {what}; problems: {:#?}", self.problems),
            }
        }
    }

    /// Takes what comes until nothing came for a while.
    fn settle(&mut self) {
        while let Some(change) = self.folder.wait(Some(SETTLED)) {
            self.take(change);
        }
    }

    fn port(&self, name: &str) -> Option<u16> {
        let id = service(name);
        match self.resources.get(&id)? {
            Resource::Service(service) => {
                Some(serde_json::to_value(service.spec.ports[0].port).unwrap().as_u64()? as u16)
            }
            _ => None,
        }
    }

    fn generation(&self, name: &str) -> i64 {
        self.resources.get(&service(name)).unwrap().metadata().generation
    }

    fn errors(&self) -> Vec<String> {
        let errors = self.problems.iter().filter(|it| it.severity == Severity::Error);
        errors.map(ToString::to_string).collect()
    }
}

fn service(name: &str) -> ObjectId {
    ObjectId::new(Kind::Service, "default", name)
}

fn manifest(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  ports:\n  - port: {port}\n"
    )
}

/// Puts a file in place as editors do that write a new one first.
fn rename_into_place(path: &Path, text: &str) {
    let draft = path.with_file_name(".draft");
    fs::write(&draft, text).unwrap();
    fs::rename(draft, path).unwrap();
}

#[test]
fn a_folder_is_read_with_the_namespaces_that_its_objects_are_in() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("below")).unwrap();
    fs::write(folder.path().join("a.yaml"), manifest("a", 80)).unwrap();
    let other = manifest("b", 80).replace("name: b", "name: b\n  namespace: shop");
    fs::write(folder.path().join("below/b.yml"), other).unwrap();
    let labelled =
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: empty\n  labels: {team: x}\n";
    fs::write(folder.path().join("c.yaml"), labelled).unwrap();

    let session = Session::open([folder.path()]);
    assert_eq!(session.errors(), [""; 0]);
    assert_eq!(session.port("a"), Some(80));
    let namespaces: Vec<(String, String)> = session
        .resources
        .namespaces
        .values()
        .map(|it| {
            let label = it.metadata.labels["kubernetes.io/metadata.name"].clone();
            (it.metadata.name.to_string(), label)
        })
        .collect();
    let names = ["default", "empty", "shop"].map(|name| (name.to_owned(), name.to_owned()));
    assert_eq!(namespaces, names);
    let empty = session.resources.get(&ObjectId::new(Kind::Namespace, "", "empty")).unwrap();
    assert_eq!(empty.metadata().labels["team"], "x");
    let mut files = session.files.clone();
    files.sort();
    let names = ["a.yaml", "below/b.yml", "c.yaml"].map(|name| folder.path().join(name));
    assert_eq!(files, names);
}

#[test]
fn an_edit_in_place_changes_its_object_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, format!("{}---\n{}", manifest("a", 1), manifest("b", 1))).unwrap();
    let mut session = Session::open([folder.path()]);
    session.kept = vec![service("a"), service("b")];
    let before = session.events;
    for port in 2..20 {
        fs::write(&path, format!("{}---\n{}", manifest("a", port), manifest("b", 1))).unwrap();
        session.until("the new port", |it| it.port("a") == Some(port));
        assert_eq!(session.files, std::slice::from_ref(&path));
    }
    assert_eq!(session.events - before, 18, "one event an edit");
    assert_eq!(session.generation("a"), 19);
    assert_eq!(session.generation("b"), 1);
}

#[test]
fn a_rename_into_place_is_an_edit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, manifest("a", 1)).unwrap();
    for root in [folder.path().to_owned(), path.clone()] {
        let mut session = Session::open([root]);
        session.kept = vec![service("a")];
        for port in 2..10 {
            rename_into_place(&path, &manifest("a", port));
            session.until("the new port", |it| it.port("a") == Some(port));
        }
        rename_into_place(&path, &manifest("a", 1));
        session.until("the first port", |it| it.port("a") == Some(1));
        assert_eq!(session.errors(), [""; 0]);
    }
}

#[test]
fn an_editor_that_moves_the_file_aside_and_writes_a_new_one_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, manifest("a", 1)).unwrap();
    for root in [folder.path().to_owned(), path.clone()] {
        let mut session = Session::open([root]);
        session.kept = vec![service("a")];
        for port in 2..10 {
            fs::rename(&path, folder.path().join("a.yaml~")).unwrap();
            // The editor takes its time: the absence is noticed.
            let _ = session.folder.wait(Some(Duration::from_millis(2))).map(|it| session.take(it));
            fs::write(&path, manifest("a", port)).unwrap();
            session.until("the new port", |it| it.port("a") == Some(port));
            assert_eq!(session.errors(), [""; 0]);
        }
        fs::write(&path, manifest("a", 1)).unwrap();
    }
}

#[test]
fn half_a_file_is_never_taken_for_a_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, format!("{}---\n{}", manifest("a", 1), manifest("b", 1))).unwrap();
    let mut session = Session::open([folder.path()]);
    session.kept = vec![service("a"), service("b")];
    let mut file = OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
    assert!(session.folder.wait(Some(Duration::from_millis(50))).is_none(), "it is empty");
    file.write_all(manifest("a", 2).as_bytes()).unwrap();
    assert!(session.folder.wait(Some(Duration::from_millis(50))).is_none(), "b is missing");
    // Another file is edited meanwhile, and everything is looked at.
    fs::create_dir(folder.path().join("c")).unwrap();
    fs::write(folder.path().join("c/c.yaml"), manifest("c", 1)).unwrap();
    session.until("the other file", |it| it.port("c") == Some(1));
    assert_eq!(session.port("a"), Some(1));
    file.write_all(format!("---\n{}", manifest("b", 2)).as_bytes()).unwrap();
    drop(file);
    session.until("both", |it| it.port("a") == Some(2) && it.port("b") == Some(2));
}

#[test]
fn a_writer_that_never_closes_its_file_is_read_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, manifest("a", 1)).unwrap();
    let mut session = Session::open([folder.path()]);
    let mut file = OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
    file.write_all(manifest("a", 2).as_bytes()).unwrap();
    session.until("the new port", |it| it.port("a") == Some(2));
    drop(file);
}

#[test]
fn a_mounted_config_map_is_followed_through_its_swap() {
    let folder = tempfile::tempdir().unwrap();
    let version = |name: &str, files: &[(&str, String)]| {
        let path = folder.path().join(name);
        fs::create_dir(&path).unwrap();
        for (file, text) in files {
            fs::write(path.join(file), text).unwrap();
        }
        symlink(name, folder.path().join("..data_tmp")).unwrap();
        fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
    };
    version("..1", &[("a.yaml", manifest("a", 1)), ("b.yaml", manifest("b", 1))]);
    symlink("..data/a.yaml", folder.path().join("a.yaml")).unwrap();
    symlink("..data/b.yaml", folder.path().join("b.yaml")).unwrap();
    let mut session = Session::open([folder.path()]);
    assert_eq!((session.port("a"), session.port("b")), (Some(1), Some(1)));
    session.kept = vec![service("a")];
    for port in 2..6 {
        let name = format!("..{port}");
        version(&name, &[("a.yaml", manifest("a", port)), ("b.yaml", manifest("b", port))]);
        fs::remove_dir_all(folder.path().join(format!("..{}", port - 1))).unwrap();
        session.until("both", |it| it.port("a") == Some(port) && it.port("b") == Some(port));
    }
    version("..6", &[("a.yaml", manifest("a", 6))]);
    fs::remove_file(folder.path().join("b.yaml")).unwrap();
    session.until("b is gone", |it| it.port("b").is_none() && it.port("a") == Some(6));
    assert_eq!(session.errors(), [""; 0]);
}

#[test]
fn a_broken_file_keeps_its_last_good_objects_until_it_is_fixed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, format!("{}---\n{}", manifest("a", 1), manifest("b", 1))).unwrap();
    let mut session = Session::open([folder.path()]);
    session.kept = vec![service("a"), service("b")];

    let broken = format!("{}---\nkind: [Service\n", manifest("a", 2));
    fs::write(&path, &broken).unwrap();
    session.until("a problem", |it| !it.errors().is_empty());
    assert_eq!(session.port("a"), Some(2), "what is good is taken in");
    assert_eq!(session.port("b"), Some(1), "what may be meant stays");
    let problem = session.problems[0].clone();
    assert_eq!(*problem.source, *path.to_str().unwrap());
    assert!(problem.position.is_some_and(|it| it.line >= 8), "{problem}");
    assert_eq!(session.folder.text(&problem.source), Some(broken.as_str()));

    fs::write(&path, format!("{}---\n{}", manifest("a", 3), manifest("b", 3))).unwrap();
    session.until("both", |it| it.port("a") == Some(3) && it.port("b") == Some(3));
    assert_eq!(session.errors(), [""; 0]);
    assert_eq!(session.folder.text(&problem.source), None, "no problem needs it");
}

#[test]
fn a_refused_object_keeps_its_last_good_version_and_others_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, format!("{}---\n{}", manifest("a", 1), manifest("b", 1))).unwrap();
    let mut session = Session::open([folder.path()]);
    session.kept = vec![service("a")];
    fs::write(&path, manifest("a", 1).replace("port: 1", "port: eighty")).unwrap();
    session.until("b is gone", |it| it.port("b").is_none());
    assert_eq!(session.port("a"), Some(1));
    assert_eq!(session.errors().len(), 1, "{:?}", session.errors());
    assert_eq!(session.problems[0].object, Some(service("a")));
}

#[test]
fn the_first_of_two_files_wins_and_its_removal_promotes_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.yaml"), folder.path().join("b.yaml"));
    fs::write(&a, manifest("x", 1)).unwrap();
    fs::write(&b, format!("# two\n---\n{}", manifest("x", 2))).unwrap();
    let mut session = Session::open([folder.path()]);
    session.kept = vec![service("x")];
    assert_eq!(session.port("x"), Some(1));
    let problem = session.problems[0].clone();
    assert_eq!(session.problems.len(), 1);
    assert_eq!(*problem.source, *b.to_str().unwrap());
    assert!(problem.message.contains(&format!("{}:1:1", a.display())), "{problem}");
    assert!(!problem.span.is_empty() && session.folder.text(&problem.source).is_some());

    fs::remove_file(&a).unwrap();
    session.until("the other", |it| it.port("x") == Some(2));
    session.until("no problem", |it| it.errors().is_empty());
    fs::write(&a, manifest("x", 3)).unwrap();
    session.until("the first", |it| it.port("x") == Some(3) && it.errors().len() == 1);
}

#[test]
fn an_object_that_moves_to_another_file_is_never_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.yaml"), folder.path().join("b.yaml"));
    fs::write(&a, manifest("x", 1)).unwrap();
    let mut session = Session::open([folder.path()]);
    session.kept = vec![service("x")];
    let events = session.events;
    fs::rename(&a, &b).unwrap();
    session.settle();
    assert_eq!(session.events, events, "nothing changed");
    fs::write(&b, manifest("x", 2)).unwrap();
    session.until("the new port", |it| it.port("x") == Some(2));
    assert_eq!(session.errors(), [""; 0]);
}

#[test]
fn a_deleted_file_takes_its_objects_with_it_and_the_namespace_they_were_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, manifest("a", 1)).unwrap();
    let mut session = Session::open([folder.path()]);
    assert_eq!(session.resources.namespaces.len(), 1);
    fs::remove_file(&path).unwrap();
    session.until("a is gone", |it| it.port("a").is_none());
    assert_eq!(session.resources, Resources::default());
    assert_eq!(session.errors(), [""; 0]);
}

#[test]
fn a_folder_that_disappears_keeps_its_objects_and_is_read_when_it_comes_back() {
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("manifests");
    let write = |port| {
        fs::create_dir(&root).unwrap();
        fs::write(root.join("a.yaml"), manifest("a", port)).unwrap();
        fs::write(root.join("b.yaml"), manifest("b", port)).unwrap();
    };
    write(1);
    let mut session = Session::open([&root]);
    session.kept = vec![service("a"), service("b")];
    for port in 2..5 {
        fs::remove_dir_all(&root).unwrap();
        session.until("a problem", |it| !it.errors().is_empty());
        let errors = session.errors();
        assert!(errors[0].contains("gone") && errors.len() == 1, "{errors:?}");
        write(port);
        session.until("both", |it| it.port("a") == Some(port) && it.port("b") == Some(port));
        session.until("no problem", |it| it.errors().is_empty());
    }
    session.kept.clear();
    fs::remove_dir_all(&root).unwrap();
    session.until("a problem", |it| !it.errors().is_empty());
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a.yaml"), manifest("a", 9)).unwrap();
    session.until("a alone", |it| it.port("a") == Some(9) && it.port("b").is_none());
}

#[test]
fn a_path_that_is_not_there_yet_is_a_problem_until_it_is() {
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("some/where");
    let mut session = Session::open([&root]);
    assert_eq!(session.errors(), [format!("{}: no such file or folder", root.display())]);
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("a.yaml"), manifest("a", 1)).unwrap();
    session.until("a", |it| it.port("a") == Some(1) && it.errors().is_empty());
}

#[test]
fn new_folders_are_watched_and_removed_ones_take_their_objects_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut session = Session::open([folder.path()]);
    let below = folder.path().join("x/y/z");
    for port in 1..4 {
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join("a.yaml"), manifest("a", port)).unwrap();
        session.until("a", |it| it.port("a") == Some(port));
        fs::write(below.join("a.yaml"), manifest("a", port + 10)).unwrap();
        session.until("the edit", |it| it.port("a") == Some(port + 10));
        fs::remove_dir_all(folder.path().join("x")).unwrap();
        session.until("a is gone", |it| it.port("a").is_none());
    }
}

#[test]
fn a_file_of_ten_megabytes_is_read_and_one_of_seventeen_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    let line = format!("# {}\n", "x".repeat(997));
    fs::write(&path, line.repeat(10_000) + &manifest("a", 1)).unwrap();
    let mut session = Session::open([folder.path()]);
    assert_eq!(session.port("a"), Some(1), "{:?}", session.errors());
    session.kept = vec![service("a")];
    fs::write(&path, line.repeat(17_000) + &manifest("a", 2)).unwrap();
    session.until("a problem", |it| !it.errors().is_empty());
    assert!(session.errors()[0].contains("larger than 16 MiB"), "{:?}", session.errors());
    fs::write(&path, manifest("a", 3)).unwrap();
    session.until("a", |it| it.port("a") == Some(3) && it.errors().is_empty());
}

#[test]
fn what_cannot_be_read_is_a_problem_and_keeps_its_last_good_objects() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, manifest("a", 1)).unwrap();
    fs::write(folder.path().join("z.yaml"), manifest("z", 1)).unwrap();
    let mut session = Session::open([folder.path()]);
    session.kept = vec![service("a"), service("z")];

    File::create(&path).unwrap().write_all(b"# \xff\n").unwrap();
    session.until("a problem", |it| !it.errors().is_empty());
    assert!(session.errors()[0].contains("not UTF-8 text: line 1"), "{:?}", session.errors());

    let link = folder.path().join(".link");
    symlink("nowhere", &link).unwrap();
    fs::rename(&link, &path).unwrap();
    session.until("another", |it| it.errors().iter().any(|it| it.contains("cannot be read")));

    let socket = std::os::unix::net::UnixListener::bind(folder.path().join("s.sock")).unwrap();
    fs::rename(folder.path().join("s.sock"), &path).unwrap();
    session.until("another", |it| it.errors().iter().any(|it| it.contains("neither a file")));
    drop(socket);

    rename_into_place(&path, &manifest("a", 2));
    session.until("a", |it| it.port("a") == Some(2) && it.errors().is_empty());
}

#[test]
fn an_edit_that_changes_no_object_gives_no_event() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, manifest("a", 1)).unwrap();
    let mut session = Session::open([folder.path()]);
    let events = session.events;
    session.files.clear();
    fs::write(&path, format!("# why\n{}", manifest("a", 1))).unwrap();
    session.until("the edit", |it| it.files == [path.clone()]);
    // The same text again is no edit at all.
    session.files.clear();
    fs::write(&path, format!("# why\n{}", manifest("a", 1))).unwrap();
    fs::write(folder.path().join("notes.txt"), "not a manifest").unwrap();
    session.settle();
    assert!(session.files.is_empty(), "{:?}", session.files);
    assert_eq!(session.events, events);
    assert_eq!(session.generation("a"), 1);
}

#[test]
fn generations_grow_with_the_spec_and_never_fall_behind_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    let with = |metadata: &str, port| {
        manifest("a", port).replace("name: a", &format!("name: a\n  {metadata}"))
    };
    fs::write(&path, with("generation: 5", 1)).unwrap();
    let mut session = Session::open([folder.path()]);
    assert_eq!(session.generation("a"), 5);
    fs::write(&path, with("labels: {x: y}", 1)).unwrap();
    session.until("the label", |it| {
        it.resources.get(&service("a")).unwrap().metadata().labels.contains_key("x")
    });
    assert_eq!(session.generation("a"), 5, "metadata does not count");
    fs::write(&path, with("labels: {x: y}", 2)).unwrap();
    session.until("the port", |it| it.port("a") == Some(2));
    assert_eq!(session.generation("a"), 6);
    fs::write(&path, with("generation: 20", 3)).unwrap();
    session.until("the port", |it| it.port("a") == Some(3));
    assert_eq!(session.generation("a"), 20);
}

#[test]
fn foreign_kinds_are_counted_over_all_files() {
    let folder = tempfile::tempdir().unwrap();
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n";
    fs::write(folder.path().join("a.yaml"), deployment).unwrap();
    fs::write(folder.path().join("b.yaml"), format!("{deployment}---\n{deployment}")).unwrap();
    let session = Session::open([folder.path()]);
    assert_eq!(session.foreign, [("apps/v1/Deployment".to_owned(), 3)]);
}
