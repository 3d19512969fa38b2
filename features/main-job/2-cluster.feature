@local @commit
Feature: What the notebooks have built is a real Slurm cluster
  The notebooks 010 to 121 were run once with their defaults: a master and two compute nodes. Nothing here believes what they
  printed: the nodes, Slurm and the provider are asked.

  Background:
    Given the cluster that the notebooks 010 to 121 have built

  Scenario: 010 and 020: every designed node is there and idle
    Then the provider lists exactly what the design says
    And the provider lists 3 running nodes, 1 disk and 1 network
    And Slurm says that "c1, c2" are idle, and knows no other node
    And Slurm has the partition "compute" with 2 nodes

  Scenario: 020: the nodes know each other by name, and share one home
    Then every node gives the same answer to "getent hosts master c1 c2"
    And every node answers "touch /home/$(hostname).seen && sleep 1 && cd /home && echo *.seen && sleep 1 && rm -f $(hostname).seen" with "c1.seen c2.seen master.seen"

  Scenario: A job of an ordinary user runs on two nodes
    When taro submits this job
      """
      #!/bin/bash
      #SBATCH --nodes=2 --ntasks-per-node=2 --time=5
      srun --mpi=pmix bash -c 'echo rank $PMIX_RANK of $SLURM_NTASKS on $(hostname) as $(id -un)'
      """
    Then the job is COMPLETED
    And its output is, in any order
      """
      rank 0 of 4 on c1 as taro
      rank 1 of 4 on c1 as taro
      rank 2 of 4 on c2 as taro
      rank 3 of 4 on c2 as taro
      """

  Scenario: A user compiles an MPI program and runs it on two nodes
    When taro submits this job
      """
      #!/bin/bash -l
      #SBATCH --nodes=2 --ntasks-per-node=1 --time=5
      module load gnu openmpi
      cat > sum.c <<'END'
      #include <mpi.h>
      #include <stdio.h>
      int main(int count, char **words) {
        int rank, size, sum;
        MPI_Init(&count, &words);
        MPI_Comm_rank(MPI_COMM_WORLD, &rank);
        MPI_Comm_size(MPI_COMM_WORLD, &size);
        int mine = rank + 1;
        MPI_Allreduce(&mine, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
        printf("rank %d of %d: the sum is %d\n", rank, size, sum);
        MPI_Finalize();
      }
      END
      mpicc -o sum sum.c && srun ./sum
      """
    Then the job is COMPLETED
    And its output is, in any order
      """
      rank 0 of 2: the sum is 3
      rank 1 of 2: the sum is 3
      """

  Scenario: A job that fails is a failed job
    When taro submits this job
      """
      #!/bin/bash
      #SBATCH --nodes=2 --time=5
      srun false
      """
    Then the job is FAILED

  Scenario: 051: a user is the same person on every node
    Then every node gives the same answer to "id taro"
    And every node gives the same answer to "getent passwd taro"
    And every node answers "su - taro -c 'test -w $HOME && pwd'" with "/home/taro"
    And every node answers "stat -c %U:%G:%a /home/taro" with "taro:taro:700"

  Scenario: A fresh login has environment modules, on every node
    Then every node answers "su - taro -c 'module load openmpi && command -v mpirun'" with "/usr/lib/openmpi-module/bin/mpirun"
    And every node answers "su - taro -c 'module -t avail 2>&1 | grep -c ^openmpi/[0-9]'" with "1"

  Scenario: Every node rotates its logs, and would keep a clock of its own
    Then every node answers "systemctl is-enabled logrotate.timer chrony.service | uniq" with "enabled"
    And every node answers "systemctl is-active logrotate.timer" with "active"
    And every node answers "logrotate --debug /etc/logrotate.conf && echo fine" with "fine"
    # As its timer starts it, with all that the unit forbids it.
    And every node answers "systemctl start logrotate.service && systemctl show -P Result logrotate.service" with "success"
    # These nodes' clock is the machine's.
    And every node answers "systemctl show -P ConditionResult chrony.service" with "no"

  Scenario: 121: Linpack's answer is right, and it was big enough to mean something
    Then Linpack's file on the cluster says that every residual check PASSED, for N of at least 8000, over at least 4 ranks
    And its ranks ran on at least 2 nodes
    And notebook 121 handed on "passed" as "true"

  Scenario: Nodes outlive the notebook that made them
    Then no process that was started here is left
    And the provider lists 3 running nodes, 1 disk and 1 network
    And Slurm says that "c1, c2" are idle, and knows no other node
