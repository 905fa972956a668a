//! Directories on the way to the file are renamed, and others take their place. A watch stays with
//! the directory that has left, and the poll is far away.

use std::path::PathBuf;

use tokio::task::JoinHandle;

use super::*;

struct Watched {
    dir: tempfile::TempDir,
    recorder: Arc<Recorder>,
    _sink: Arc<dyn Sink>,
    task: JoinHandle<()>,
}

impl Watched {
    /// Follows `path` in a directory that `set` has filled, until it is read.
    async fn start(path: &str, set: impl FnOnce(&Self)) -> Self {
        let (recorder, sink, publish) = publisher();
        let task = tokio::spawn(async {});
        let dir = tempfile::tempdir().unwrap();
        let mut watched = Self { dir, recorder, _sink: sink, task };
        set(&watched);
        let file = Box::new(File::new(watched.at(path)));
        watched.task = tokio::spawn(file.run(publish));
        watched.sees("2s").await;
        watched
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// A file that sets this timeout, in a directory that is made if need be.
    fn write(&self, path: &str, timeout: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, GOOD.replace("2s", timeout)).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.at(from), self.at(to)).unwrap();
    }

    async fn sees(&self, timeout: &str) {
        until(&self.recorder, &format!("service users Some({timeout})")).await;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn a_directory_that_takes_the_place_of_the_files_is_followed() {
    let it = Watched::start("conf/mesh.yaml", |it| it.write("conf/mesh.yaml", "2s")).await;
    for (old, now, edited) in [("old", "3s", "4s"), ("older", "5s", "6s")] {
        it.write("new/mesh.yaml", now);
        it.rename("conf", old);
        it.rename("new", "conf");
        it.sees(now).await;
        it.write("conf/mesh.yaml", edited);
        it.sees(edited).await;
    }
}

#[tokio::test]
async fn a_directory_that_takes_the_place_of_one_further_up_is_followed() {
    let set = |it: &Watched| it.write("a/b/conf/mesh.yaml", "2s");
    let it = Watched::start("a/b/conf/mesh.yaml", set).await;
    for (directory, now, edited) in [("a/b", "3s", "4s"), ("a", "5s", "6s")] {
        let file = "a/b/conf/mesh.yaml".strip_prefix(directory).unwrap();
        it.write(&format!("new{file}"), now);
        it.rename(directory, &format!("{directory}.old"));
        it.rename("new", directory);
        it.sees(now).await;
        it.write("a/b/conf/mesh.yaml", edited);
        it.sees(edited).await;
    }
}

#[tokio::test]
async fn a_directory_further_up_that_is_away_for_a_while_is_followed() {
    let set = |it: &Watched| it.write("a/conf/mesh.yaml", "2s");
    let it = Watched::start("a/conf/mesh.yaml", set).await;
    it.rename("a", "old");
    until(&it.recorder, "cannot be read").await;
    it.write("new/conf/mesh.yaml", "3s");
    it.rename("new", "a");
    it.sees("3s").await;
    it.write("a/conf/mesh.yaml", "4s");
    it.sees("4s").await;
}

#[tokio::test]
async fn a_directory_that_comes_back_is_followed() {
    let set = |it: &Watched| it.write("a/conf/mesh.yaml", "2s");
    let it = Watched::start("a/conf/mesh.yaml", set).await;
    for (directory, edits) in [("a/conf", ["3s", "4s"]), ("a", ["5s", "6s"])] {
        it.rename(directory, "away");
        it.rename("away", directory);
        // The second is seen by a watch that came back with it.
        for edited in edits {
            it.write("a/conf/mesh.yaml", edited);
            it.sees(edited).await;
        }
    }
}

#[tokio::test]
async fn a_directory_behind_a_link_that_another_takes_the_place_of_is_followed() {
    use std::os::unix::fs::symlink;
    let it = Watched::start("app/link/conf/mesh.yaml", |it| {
        it.write("real/v1/conf/mesh.yaml", "2s");
        fs::create_dir(it.at("app")).unwrap();
        symlink("../real/v1", it.at("app/link")).unwrap();
    })
    .await;
    for (directory, now, edited) in
        [("real/v1/conf", "3s", "4s"), ("real/v1", "5s", "6s"), ("real", "7s", "8s")]
    {
        let file = "real/v1/conf/mesh.yaml".strip_prefix(directory).unwrap();
        it.write(&format!("new{file}"), now);
        it.rename(directory, &format!("{directory}.old"));
        it.rename("new", directory);
        it.sees(now).await;
        it.write("real/v1/conf/mesh.yaml", edited);
        it.sees(edited).await;
    }
    // The link goes elsewhere, and its directory is replaced with it.
    it.write("real/v2/conf/mesh.yaml", "9s");
    symlink("../real/v2", it.at("app/new")).unwrap();
    it.rename("app/new", "app/link");
    it.sees("9s").await;
    it.write("real/v3/conf/mesh.yaml", "10s");
    fs::create_dir(it.at("next")).unwrap();
    symlink("../real/v3", it.at("next/link")).unwrap();
    it.rename("app", "app.old");
    it.rename("next", "app");
    it.sees("10s").await;
    it.write("real/v3/conf/mesh.yaml", "11s");
    it.sees("11s").await;
}
