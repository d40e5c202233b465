;; Returns a thousand numbers whose label is the same 200 KiB: a quarter of a MiB in the guest, 200 MiB on the
;; node.
(module
  (memory (export "memory") 10)
  ;; One family "f", one number of it.
  (data (i32.const 512) "f")
  (data (i32.const 68) "\00\03\00\00\01\00\00\00" "\00\04\00\00\01\00\00\00")
  (data (i32.const 768) "\00\02\00\00\01\00\00\00" "\01")
  (global $heap (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $heap
    (global.set $heap
      (i32.and (i32.add (i32.add (global.get $heap) (local.get 3)) (i32.const 15)) (i32.const -16))))
  ;; dynamic
  (data (i32.const 16) "\01")
  (func (export "describe") (result i32) (i32.const 16))
  (func (export "collect") (result i32) (local $i i32) (local $at i32)
    (loop $again
      (local.set $at (i32.add (i32.const 400_000) (i32.mul (local.get $i) (i32.const 40))))
      (i32.store offset=4 (local.get $at) (i32.const 2048))
      (i32.store offset=8 (local.get $at) (i32.const 1))
      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))
    (i32.store (i32.const 2048) (i32.const 4096))
    (i32.store (i32.const 2052) (i32.const 200_000))
    (i32.store (i32.const 76) (i32.const 400_000))
    (i32.store (i32.const 80) (i32.const 1000))
    (i32.const 64))
)
