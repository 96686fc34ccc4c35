mod codec;
mod dice;
mod domain;
mod records;
mod replay;
