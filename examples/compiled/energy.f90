! Energy and forces of a water molecule, by a compiled potential whose elements are H and O, in this order.
!
!   gfortran energy.f90 ./potential.so -Wl,-rpath,. -o energy && ./energy
program energy
  use iso_c_binding
  implicit none
  type, bind(c) :: clebsch_system
    integer(c_int64_t) :: num_atoms, num_ghosts
    type(c_ptr) :: species, first, neighbors, positions, vectors, owners
  end type
  type, bind(c) :: clebsch_result
    real(c_double) :: energy
    type(c_ptr) :: node_energy, edge_gradient, forces, virial
  end type
  interface
    integer(c_int) function clebsch_open(abi, potential) bind(c)
      import
      integer(c_int32_t), value :: abi
      type(c_ptr) :: potential
    end function
    integer(c_int) function clebsch_compute(potential, system, exchange, result) bind(c)
      import
      type(c_ptr), value :: potential, exchange
      type(clebsch_system) :: system
      type(clebsch_result) :: result
    end function
  end interface
  integer(c_int32_t), target :: species(3) = [1, 0, 0], neighbors(6) = [1, 2, 0, 2, 0, 1]
  integer(c_int64_t), target :: first(4) = [0, 2, 4, 6]
  real(c_double), target :: positions(3, 3), forces(3, 3)
  type(c_ptr) :: potential
  type(clebsch_system) :: system
  type(clebsch_result) :: result
  positions = reshape([0d0, 0d0, 0.12d0, 0d0, 0.76d0, -0.48d0, 0d0, -0.76d0, -0.48d0], [3, 3])
  system = clebsch_system(3, 0, c_loc(species), c_loc(first), c_loc(neighbors), c_loc(positions), c_null_ptr, c_null_ptr)
  result = clebsch_result(0d0, c_null_ptr, c_null_ptr, c_loc(forces), c_null_ptr)
  if (clebsch_open(1, potential) /= 0) stop "the library cannot be opened"
  if (clebsch_compute(potential, system, c_null_ptr, result) /= 0) stop "no energy"
  print "(a, f16.9, a)", "energy", result%energy, " eV"
  print "(3f16.9)", forces
end program
