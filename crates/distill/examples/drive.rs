//! temporary driver
use hpd_distill::recipe::Recipe;
use hpd_distill::run::{self, DeviceChoice, Settings, TeacherArgument};
use hpd_distill::sentences::{SentenceFile, SentenceOptions};
use hpd_distill::start::StudentStart;
use hpd_files::Progress;
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
struct Talk(std::sync::Mutex<(u64, u64, std::time::Instant)>);
impl Progress for Talk {
    fn stage(&self, name: &str, total: Option<u64>) {
        eprintln!("stage {name} {total:?}");
        *self.0.lock().unwrap() = (0, 0, std::time::Instant::now());
    }
    fn advance(&self, units: u64) {
        let mut s = self.0.lock().unwrap();
        s.0 += units;
        if s.2.elapsed().as_secs() >= 20 {
            eprintln!("{} ({}/s)", s.0, (s.0 - s.1) as f64 / s.2.elapsed().as_secs_f64());
            s.1 = s.0;
            s.2 = std::time::Instant::now();
        }
    }
    fn message(&self, _: &str) {}
    fn note(&self, line: &str) { eprintln!("{line}"); }
    fn finish(&self) {}
}
fn main() {
    let a: Vec<String> = std::env::args().skip(1).collect();
    let recipe = { let mut r = Recipe::load(&a[1]).unwrap(); r.set("epochs", "1").unwrap(); r };
    let settings = Settings {
        teacher: TeacherArgument::Model { folder: a[0].clone().into(), name: a[0].clone(), max_seq_length: None },
        start: StudentStart::Layers(3),
        sentences: a[4..].iter().map(|t| SentenceFile::parse(t).unwrap()).collect(),
        sentence_options: SentenceOptions::default(),
        recipe, recipe_name: a[1].clone(),
        output: a[2].clone().into(),
        teacher_cache: Some("/work/tmp/runs/teacher".into()),
        dev_sts: Some(a[3].clone().into()),
        device: DeviceChoice::Cpu,
        resume: true, overwrite: false,
    };
    match run::run(&settings, &Talk(std::sync::Mutex::new((0, 0, std::time::Instant::now())))) {
        Ok(s) => println!("{s}"),
        Err(e) => { eprintln!("{e:?}"); std::process::exit(2) }
    }
}
