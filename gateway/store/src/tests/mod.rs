mod codec;
mod dice;
mod records;
