@local @nightly
Feature: Notebooks run as jobs of a cluster that we built
  tmplrun runs here, as a person's laptop would run it. Its only way to the cluster is SSH as an ordinary user; kernels come from
  a Python environment in the shared home. Slurm and the nodes say what ran there, and the fetched notebooks what came of it.

  Scenario: One notebook, a flow with branches, a notebook that fails, and one whose job somebody cancels
    Given a cluster of a master and 2 compute nodes, which taro enters over SSH
    And a Python with ipykernel in taro's home, which all nodes share
    And a tmplrun without libraries beside the one that is run here

    Given the notebook "one.ipynb"
      """
      --- parameters
      size = 1
      ---
      import getpass, os, socket
      print(getpass.getuser(), 'on', socket.gethostname()[0] + '?', 'size', size + 1)
      print('job', int(os.environ['SLURM_JOB_ID']) > 0, os.environ['SLURM_CPUS_ON_NODE'])
      print('prepared:', os.environ['PREPARED'])
      """
    When tmplrun hands "one.ipynb" over to Slurm with
      | -p      | size                | 41 |
      | --slurm | time=5              |    |
      | --slurm | mem=200M            |    |
      | --setup | export PREPARED=yes |    |
    Then it succeeds
    And the fetched "one.ipynb" holds "taro on c? size 42"
    And the fetched "one.ipynb" holds "job True 1"
    And the fetched "one.ipynb" holds "prepared: yes"
    And Slurm says that its jobs were "one", and that every one is COMPLETED
    And the program that was sent to the cluster needs no libraries

    Given the file "branches/flow.yaml"
      """
      schema: 1
      flows:
        main:
          steps:
            - 1-begin.ipynb
            - {notebook: 2-left.ipynb, needs: ["1"]}
            - {notebook: 3-right.ipynb, needs: ["1"]}
            - {notebook: 4-end.ipynb, needs: ["2", "3"]}
      """
    And the notebook "branches/1-begin.ipynb"
      """
      from IPython.display import display
      display({'application/vnd.tmplrun.result+json': {'size': 20}}, raw=True)
      """
    And the notebook "branches/2-left.ipynb"
      """
      --- parameters
      size = 0
      ---
      import pathlib, time
      pathlib.Path('left').touch()
      for _ in range(600):
          if pathlib.Path('right').exists(): break
          time.sleep(0.1)
      else:
          raise SystemExit('the other branch did not run beside this one')
      display({'application/vnd.tmplrun.result+json': {'left': size + 1}}, raw=True)
      """
    And the notebook "branches/3-right.ipynb"
      """
      --- parameters
      size = 0
      ---
      import pathlib, time
      pathlib.Path('right').touch()
      for _ in range(600):
          if pathlib.Path('left').exists(): break
          time.sleep(0.1)
      else:
          raise SystemExit('the other branch did not run beside this one')
      display({'application/vnd.tmplrun.result+json': {'right': size * 2}}, raw=True)
      """
    And the notebook "branches/4-end.ipynb"
      """
      --- parameters
      left = right = 0
      ---
      print('left', left, 'right', right)
      """
    When tmplrun hands "branches" over to Slurm with
      | --slurm | time=5   |
      | --slurm | mem=200M |
    Then it succeeds
    And the fetched "branches/4-end.ipynb" holds "left 21 right 40"
    And Slurm says that its jobs were "1-begin, 2-left, 3-right, 4-end", and that every one is COMPLETED

    Given the notebook "fails.ipynb"
      """
      print('before')
      ---
      1 / 0
      """
    When tmplrun hands "fails.ipynb" over to Slurm
    Then it ends with exit code 1
    And it says "ZeroDivisionError"
    And the fetched "fails.ipynb" holds "before"
    And the fetched "fails.ipynb" holds "ZeroDivisionError"

    When tmplrun hands "fails.ipynb" over to Slurm with
      | --slurm | partition=no-such-partition |
    Then it ends with exit code 2
    And it says "no-such-partition"

    Given the notebook "waits.ipynb"
      """
      print('kept')
      ---
      import time
      print('now it waits', flush=True)
      time.sleep(600)
      """
    When tmplrun hands "waits.ipynb" over to Slurm in the background
    And its job is cancelled once it has said "now it waits"
    And the program in the background has ended
    Then it ends with exit code 138
    And it says "somebody cancelled job"
    And the fetched "waits.ipynb" holds "kept"
    And Slurm says that its jobs were "waits", and that every one is CANCELLED
    And nothing of these runs is left on the cluster
