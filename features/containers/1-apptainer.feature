@local @commit
Feature: Users run images with Apptainer
  An image is a file in somebody's home. It is made whole or not at all, and it runs on every node.

  Background:
    Given the cluster that the notebooks 010 to 121 have built

  Scenario: 140 makes an image from an archive, and it runs alone and in jobs
    Given the image archive "tiny" lies on the cluster as "/home/tiny.tar"
    When tmplrun runs notebook 140 with
      | container_image | docker-archive:/home/tiny.tar |
      | container_file  | images/tiny.sif               |
    Then it succeeds
    And the master answers "ls -m /home/taro/images" with "tiny.sif, tiny.sif.from"
    And every node answers "su - taro -c 'apptainer --quiet exec images/tiny.sif id -un'" with "taro"
    And every node answers "su - taro -c 'apptainer --quiet exec images/tiny.sif ls -m /bin'" with "cat, hostname, id, ls, sh"
    When taro submits this job
      """
      #!/bin/bash
      #SBATCH --nodes=2 --ntasks-per-node=1 --time=5
      srun apptainer --quiet exec images/tiny.sif sh -c 'echo $(hostname) as $(id -un) in $APPTAINER_NAME'
      """
    Then the job is COMPLETED
    And its output is, in any order
      """
      c1 as taro in tiny.sif
      c2 as taro in tiny.sif
      """

  Scenario: An image that does not exist is an error that names it, and leaves nothing
    When tmplrun runs notebook 140 with
      | container_image | docker-archive:/home/missing.tar |
      | container_file  | images/missing.sif               |
    Then it ends with exit code 1
    And it says "there is no image archive /home/missing.tar"
    When tmplrun runs notebook 140 with
      | container_image | docker://registry.invalid/missing:1 |
      | container_file  | images/missing.sif                  |
    Then it ends with exit code 1
    And it says "no image could be made from docker://registry.invalid/missing:1"
    When tmplrun runs notebook 140 with
      | container_image | debian             |
      | container_file  | images/missing.sif |
    Then it ends with exit code 1
    And it says "'debian' is not an image"
    And the master answers "ls -A /home/taro/images | grep missing || echo nothing" with "nothing"

  Scenario: 061 and 062: a module in every fresh login, and no longer
    When tmplrun runs notebook 061
    Then it succeeds
    And every node answers "su - taro -c 'module --terse list 2>&1 | cut -d/ -f1'" with "apptainer"
    And every node answers "su - taro -c 'echo $APPTAINER_TMPDIR'" with "/var/tmp"
    When tmplrun runs notebook 061
    Then it succeeds
    When tmplrun runs notebook 062
    Then it succeeds
    And every node answers "su - taro -c 'module --terse list 2>&1 | grep -c apptainer || true'" with "0"
    And every node answers "su - taro -c 'module load apptainer && echo $APPTAINER_TMPDIR'" with "/var/tmp"
