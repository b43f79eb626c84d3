mod faults;
mod random;
mod sim;
mod speed;
