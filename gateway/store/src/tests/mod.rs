mod codec;
mod dice;
mod disk;
mod domain;
mod log;
mod records;
mod replay;
mod simulation;
