help([[
Open MPI as the distribution packages it, with Slurm as its launcher:

    srun --mpi=pmix ./program

mpicc, mpicxx and mpifort compile programs for it.
]])
whatis("Name: Open MPI")
whatis("Version: " .. myModuleVersion())
whatis("Category: library, MPI")
family("mpi")
prepend_path("PATH", "/usr/lib/openmpi-module/bin")
setenv("MPI_HOME", "/usr/lib/openmpi-module")
setenv("SLURM_MPI_TYPE", "pmix")
